"""Reads one mailbox as a tenant wrote it and puts its domain in ASCII form.

The standard library's own parsers are not used here: they guess where they should refuse.
"""

import re

import idna
from msgspec import Struct

from tallypost_providers.errors import EmailNotBuildable

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_QUOTED = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"'
# RFC 5322, section 3.4.1, without comments, folding and the obsolete forms.
_LOCAL_PART = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*|{_QUOTED}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Za-z:.]+\]")
_DOMAIN_MAX_CHARS = 255  # RFC 5321, section 4.5.3.1.2.
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
# C0 except TAB, DEL, C1, the Unicode line breaks, lone surrogates.
_FORBIDDEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Mailbox(Struct, frozen=True):
    """A display name, as a person reads it, and an address that is ASCII only."""

    name: str
    local_part: str
    domain: str

    @property
    def address(self) -> str:
        """`local@domain`, ready for a header."""
        return f"{self.local_part}@{self.domain}"


def parse_mailbox(text: str, field: str) -> Mailbox:
    """Read `Name <local@domain>`, `"Name" <local@domain>` or a bare address.

    field is what an error names. Everything before the last `<` is the name: quotes around it
    are taken off, and an encoded word in it stays the text that it is.
    Raises EmailNotBuildable; a local part outside ASCII would need SMTPUTF8 in every hop
    (RFC 6531), so it is refused.
    """
    require_printable(text, field)
    name, raw_address = "", text.strip()
    if raw_address.endswith(">"):
        name, _, raw_address = raw_address[:-1].rpartition("<")
    local_part, _, domain = raw_address.strip().rpartition("@")
    if not _LOCAL_PART.fullmatch(local_part):
        raise EmailNotBuildable("An address has no usable local part.", field=field)
    return Mailbox(_unquote(name.strip()), local_part, to_ascii_domain(domain, field))


def to_ascii_domain(domain: str, field: str) -> str:
    """A domain as it goes on the wire: internationalised labels become A-labels (RFC 5891).

    Raises EmailNotBuildable for what is no domain name.
    """
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise EmailNotBuildable("A domain has no ASCII form.", field=field) from error
    if len(domain) > _DOMAIN_MAX_CHARS or not _DOMAIN.fullmatch(domain):
        raise EmailNotBuildable("An address has no usable domain.", field=field)
    return domain


def require_printable(text: str, field: str) -> None:
    """Refuse what could end a header line or hide in one: control characters except TAB.

    Raises EmailNotBuildable that names the field and never shows the text.
    """
    if _FORBIDDEN.search(text):
        raise EmailNotBuildable("A header value has a control character.", field=field)


def _unquote(name: str) -> str:
    if len(name) >= 2 and name.startswith('"') and name.endswith('"'):
        return _QUOTED_PAIR.sub(r"\1", name[1:-1])
    return name
