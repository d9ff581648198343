"""Reads mailboxes such as `Name <local@example.com>` from requests."""

import re

import email_validator

from tallypost_core.errors import AppError
from tallypost_domain.emails.errors import InvalidField
from tallypost_domain.emails.types import Address

# C0 controls except TAB, DEL, C1 controls and the Unicode line separators: each of them ends a
# header line in some program on the way.
FORBIDDEN_IN_HEADERS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

_MAX_HEADER_LENGTH = 998
_WITH_NAME = re.compile(r"^\s*(?P<name>[^<>]*?)\s*<\s*(?P<address>[^<>]+?)\s*>\s*$", re.DOTALL)
_PLAIN = re.compile(
    r"^(?P<local>[A-Za-z0-9_+-]+(?:[.][A-Za-z0-9_+-]+)*)@"
    r"(?P<domain>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?[.])+[A-Za-z]{2,63})$"
)


def parse_address(text: str, field: str, *, error: type[AppError] = InvalidField) -> Address:
    """Parse one mailbox; the display name may be in any script, and quoted.

    Raises `error`, with the field's name, for anything else: two addresses in one string,
    control characters, a local part outside ASCII, a name longer than a header line.
    """
    if FORBIDDEN_IN_HEADERS.search(text):
        raise error(f"The `{field}` field holds a control character or a line break.", field=field)
    if len(text) > _MAX_HEADER_LENGTH:
        raise error(f"The `{field}` field is longer than 998 characters.", field=field)
    match = _WITH_NAME.match(text)
    name = _unquote(match["name"]) if match else ""
    bare = match["address"] if match else text.strip()
    address, domain = _normalise(bare, field, error)
    header = f"{_quote(name)} <{address}>" if name else address
    return Address(header=header, address=address, domain=domain)


def _normalise(bare: str, field: str, error: type[AppError]) -> tuple[str, str]:
    plain = _PLAIN.match(bare)
    if plain and len(plain["local"]) <= 64 and len(bare) <= 254:
        domain = plain["domain"].lower()
        # "xn--" labels take the long way: it checks that they decode.
        if "xn--" not in domain:
            return f"{plain['local']}@{domain}", domain
    try:
        # globally_deliverable=False admits names such as `example.test`: whether mail can be
        # delivered is the provider's answer, not a matter of syntax.
        parsed = email_validator.validate_email(
            bare, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False
        )
    except email_validator.EmailNotValidError as problem:
        raise error(
            f"The `{field}` field is not a mailbox: {problem} "
            "Write `name@example.com` or `Name <name@example.com>`.",
            field=field,
        ) from problem
    return f"{parsed.local_part}@{parsed.ascii_domain}", parsed.ascii_domain


def _unquote(name: str) -> str:
    if len(name) >= 2 and name[0] == name[-1] == '"':
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name


def _quote(name: str) -> str:
    # RFC 5322, 3.2.3: these need a quoted string.
    if re.search(r'[()<>\[\]:;@\\,."]', name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return name
