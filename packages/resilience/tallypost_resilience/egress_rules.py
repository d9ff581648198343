"""What a request to the outside may look like, and what is raised where it may not, or fails.

Nothing here quotes a URL: it may hold a secret in its path, its query or even its host.
"""

import ipaddress
import math
import re
from typing import ClassVar, Final

from msgspec import Struct
from yarl import URL

from tallypost_core.errors import AppError, ErrorKind
from tallypost_resilience.egress_addresses import IPNetwork, is_allowed

MAX_URL_LENGTH: Final = 4096

_SCHEMES: Final = frozenset({"http", "https"})
_LABEL: Final = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,254}}$){_LABEL}(?:\.{_LABEL})*\.?")
# WHATWG's "ends in a number": resolvers read such hosts as IPv4, in octal, hexadecimal or with
# fewer than four parts. Only the usual form of an address is let through, as an address.
_ENDS_IN_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
_UNUSABLE: Final = re.compile("[\x00-\x20\x7f\ud800-\udfff]")


class EgressForbidden(AppError):
    """This address may not be fetched."""

    code: ClassVar[str] = "egress_forbidden"
    kind: ClassVar[ErrorKind] = ErrorKind.INVALID


class EgressRedirected(AppError):
    """The server answered with a redirect, which is not followed; give the final address."""

    code: ClassVar[str] = "egress_redirected"
    kind: ClassVar[ErrorKind] = ErrorKind.INVALID


class EgressTooLarge(AppError):
    """The server's answer is larger than is allowed."""

    code: ClassVar[str] = "egress_too_large"
    kind: ClassVar[ErrorKind] = ErrorKind.INVALID


class EgressTimedOut(AppError):
    """The server did not answer in time."""

    code: ClassVar[str] = "egress_timed_out"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE


class EgressFailed(AppError):
    """The server could not be reached, or did not answer as it should."""

    code: ClassVar[str] = "egress_failed"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE


class EgressUnreachable(EgressFailed):
    """The server could not be reached; nothing of the request has left."""

    code: ClassVar[str] = "egress_unreachable"


class EgressRules(Struct, frozen=True, kw_only=True):
    """What one `Egress` allows; raises ValueError where a number means nothing."""

    ports: frozenset[int] = frozenset({80, 443, 8443})
    allowed_networks: tuple[IPNetwork, ...] = ()
    """Networks beside the public ones: an operator's own, or loopback while developing."""
    timeout_s: float = 15.0
    """For the whole of a request, from the look-up of its host to the last byte of its answer."""
    max_answer_bytes: int = 64_000
    """Where a request does not say otherwise; counted after decompression."""
    connections: int = 100
    """To all hosts together; more requests wait for one."""

    def __post_init__(self) -> None:
        if not (self.timeout_s > 0 and math.isfinite(self.timeout_s)):
            raise ValueError("timeout_s must be positive and finite")
        if self.max_answer_bytes < 0 or self.connections < 1:
            raise ValueError("max_answer_bytes must not be negative, connections at least 1")

    def require_address(self, text: str) -> None:
        """Raise EgressForbidden unless a request may go to this IP address."""
        if not is_allowed(ipaddress.ip_address(text), self.allowed_networks):
            raise EgressForbidden

    def require_url(self, text: str) -> URL:
        """The URL, parsed once for all; raises EgressForbidden where it may not be fetched.

        A host that is an address is judged here, one that is a name when it is looked up.
        """
        if len(text) > MAX_URL_LENGTH or _UNUSABLE.search(text):
            raise EgressForbidden("The URL is too long or holds a space or control character.")
        try:
            url = URL(text)
        except (ValueError, IndexError):
            # yarl 1.25 raises IndexError where brackets stand before an empty host. The cause is
            # left out, as it would quote the URL.
            raise EgressForbidden("The URL cannot be read.") from None
        if url.scheme not in _SCHEMES:
            raise EgressForbidden("The URL must begin with http:// or https://.")
        if url.raw_user is not None or url.raw_password is not None:
            raise EgressForbidden("The URL must not hold a user name or password.")
        if url.port not in self.ports:
            raise EgressForbidden("The URL names a port that is not allowed.")
        self._require_host(url.raw_host or "")
        return url

    def _require_host(self, host: str) -> None:
        if ":" in host or _ENDS_IN_NUMBER.fullmatch(host):
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise EgressForbidden("The URL's host is no address in its usual form.") from None
            # A zone names an interface of this machine.
            if "%" in host:
                raise EgressForbidden
            self.require_address(host)
        elif not _NAME.fullmatch(host):
            raise EgressForbidden("The URL has no host, or one that no name can be.")
