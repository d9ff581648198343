"""Database addresses: settings hold plain `postgresql://` ones."""


def sqlalchemy_url(url: str) -> str:
    """The address with SQLAlchemy's name for the asyncpg driver."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres"}:
        raise ValueError("a database address starts with postgresql://")
    return f"postgresql+asyncpg://{rest}"
