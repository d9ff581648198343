"""Headers of answers that a browser keeps as a file."""

from urllib.parse import quote


def content_disposition(filename: str) -> str:
    """`attachment`, with the name for old and new browsers (RFC 6266, section 5)."""
    plain = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in filename
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
