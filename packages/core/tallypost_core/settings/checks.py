"""What a setting must mean beyond its type: each raises ValueError with what would be right."""

from urllib.parse import urlsplit


def require_address(url: str) -> None:
    """Raise ValueError for what is no address of a server."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("it starts with http:// or https:// and names a host")
    if address.query or address.fragment or "@" in address.netloc:
        raise ValueError("it takes no query, fragment or login")


def require_positive(number: str) -> None:
    """Raise ValueError for a number that is not more than 0."""
    if float(number) <= 0:
        raise ValueError("it is more than 0")
