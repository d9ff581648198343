"""By which addresses the console may be asked, and which pages may send it forms."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")

# What browsers say of a form on a page of ours, and of what a person started without a page.
_OWN_SITES: Final = frozenset({"same-origin", "none"})


class Origins:
    """The console's own address, as set, and what follows from it."""

    def __init__(self, url: str) -> None:
        """url is what people type, such as `https://console.example.com`.

        Raises ValueError where it is no http or https address of a host.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise ValueError("TALLYPOST_CONSOLE_URL needs the form https://host or http://host")
        self.url: Final = f"{parts.scheme}://{parts.netloc}"
        self.is_secure: Final = parts.scheme == "https"
        self._scheme = parts.scheme
        self._hosts = _same_hosts(parts.netloc.lower())

    def has_host(self, host: str) -> bool:
        """True for a Host header that means this console.

        An exact match: whoever points a name of theirs at our address is refused, which stops DNS
        rebinding. The names of the loopback stand for each other.
        """
        return host.lower() in self._hosts

    def is_own_form(self, headers: Mapping[str, str]) -> bool:
        """True where a request that changes something comes from a page of this console.

        Browsers send Origin with every such request, the newer ones Sec-Fetch-Site too; what they
        send must agree, and a request with neither is refused.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None and origin is None:
            return False
        if site is not None and site not in _OWN_SITES:
            return False
        host = headers.get("host", "").lower()
        return origin is None or (self.has_host(host) and origin == f"{self._scheme}://{host}")


def _same_hosts(netloc: str) -> frozenset[str]:
    for name in _LOOPBACK:
        if netloc == name or netloc.startswith(f"{name}:"):
            port = netloc.removeprefix(name)
            return frozenset(f"{other}{port}" for other in _LOOPBACK)
    return frozenset({netloc})
