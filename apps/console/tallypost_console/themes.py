"""Light or dark: as the system says, unless a person has chosen in this browser."""

from collections.abc import Mapping
from typing import Final

from litestar.datastructures import Cookie

THEMES: Final = ("system", "light", "dark")

_COOKIE: Final = "tallypost_theme"
_MAX_AGE_S: Final = 365 * 24 * 3600


def find_theme(cookies: Mapping[str, str]) -> str:
    """One of THEMES."""
    theme = cookies.get(_COOKIE, "")
    return theme if theme in THEMES else THEMES[0]


def theme_cookie(theme: str, *, is_secure: bool) -> Cookie:
    """The cookie that remembers a theme."""
    return Cookie(
        key=_COOKIE,
        value=theme,
        max_age=_MAX_AGE_S,
        path="/",
        secure=is_secure,
        httponly=True,
        samesite="lax",
    )
