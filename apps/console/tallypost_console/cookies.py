"""The cookie that holds a session's token."""

from typing import Final

from litestar.datastructures import Cookie

_MAX_AGE_S: Final = 14 * 24 * 3600


class SessionCookie:
    """Name and attributes of the session cookie.

    Over https it is Secure and has the prefix `__Host-`, with which browsers take it from this
    very host only (RFC 6265bis, section 4.1.3.2). Plain http, for loopback, allows neither.
    """

    def __init__(self, *, is_secure: bool) -> None:
        self._is_secure = is_secure
        self.name: Final = f"{'__Host-' if is_secure else ''}tallypost_session"

    def holding(self, token: str) -> Cookie:
        """The cookie that signs in; it lives as long as a session can."""
        return self._make(token, _MAX_AGE_S)

    def cleared(self) -> Cookie:
        """The cookie that signs out."""
        return self._make("", 0)

    def _make(self, value: str, max_age_s: int) -> Cookie:
        return Cookie(
            key=self.name,
            value=value,
            max_age=max_age_s,
            path="/",
            secure=self._is_secure,
            httponly=True,
            samesite="lax",
        )
