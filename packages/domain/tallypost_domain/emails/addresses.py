"""Reads mailboxes such as `Name <local@example.com>` from requests."""

import re

import email_validator

from tallypost_core.errors import AppError
from tallypost_domain.emails.errors import InvalidField
from tallypost_domain.emails.types import Address

# C0 controls except TAB, DEL, C1 controls and the Unicode line separators: each of them ends a
# header line in some program on the way. Lone surrogates have no UTF-8 form.
FORBIDDEN_IN_HEADERS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_MAX_HEADER_LENGTH = 998
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN = re.compile(
    rf"(?P<local>{_ATOM}(?:[.]{_ATOM})*)@"
    r"(?P<domain>(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?[.])+[A-Za-z]{2,63})"
)
_QUOTED = re.compile(r'"(?P<inside>(?:[^"\\]|\\.)*)"')
_ADDRESS_IN_LIST = re.compile(r"[^\s,;]@[^\s,;]+\s*[,;]")


def parse_address(text: str, field: str, *, error: type[AppError] = InvalidField) -> Address:
    """Parse one mailbox; the display name may be in any script, and quoted.

    Raises `error`, with the field's name, for anything else: two addresses in one string,
    control characters, a local part outside ASCII, a name longer than a header line.
    """
    if FORBIDDEN_IN_HEADERS.search(text):
        raise error(f"The `{field}` field holds a control character or a line break.", field=field)
    if len(text) > _MAX_HEADER_LENGTH:
        raise error(f"The `{field}` field is longer than 998 characters.", field=field)
    # No regular expression splits the text: one with spaces around both parts takes cubic time.
    name, bare = "", text.strip()
    if bare.endswith(">") and "<" in bare:
        name, _, bare = bare[:-1].rpartition("<")
    name = _read_name(name.strip(), field, error)
    address, domain = _normalise(bare.strip(), field, error)
    header = f"{_quote(name)} <{address}>" if name else address
    return Address(header=header, address=address, domain=domain)


def _read_name(name: str, field: str, error: type[AppError]) -> str:
    if quoted := _QUOTED.fullmatch(name):
        return re.sub(r"\\(.)", r"\1", quoted["inside"]).strip()
    # Taken for a name, an address in front of the last one would silently get nothing.
    if "<" in name or ">" in name or _ADDRESS_IN_LIST.search(name):
        raise error(
            f"The `{field}` field holds more than one mailbox. Write each as a string of its own.",
            field=field,
        )
    return name


def _normalise(bare: str, field: str, error: type[AppError]) -> tuple[str, str]:
    plain = _PLAIN.fullmatch(bare)
    if plain and len(plain["local"]) <= 64 and len(bare) <= 254:
        domain = plain["domain"].lower()
        # "xn--" labels take the long way: it checks that they decode.
        if "xn--" not in domain:
            return f"{plain['local']}@{domain}", domain
    try:
        # globally_deliverable=False and test_environment=True admit names such as `bücher.test`:
        # whether mail can be delivered is the provider's answer, not a matter of syntax.
        parsed = email_validator.validate_email(
            bare,
            # The limit of 64 characters before the @ (RFC 5321, 4.5.3.1.1) counts only with it.
            strict=True,
            check_deliverability=False,
            allow_smtputf8=False,
            globally_deliverable=False,
            test_environment=True,
        )
    except email_validator.EmailNotValidError as problem:
        # What stands in brackets may be a part of the address, which no message may hold.
        reason = str(problem).partition(" (")[0].rstrip(".")
        raise error(
            f"The `{field}` field is not a mailbox: {reason}. "
            "Write `name@example.com` or `Name <name@example.com>`.",
            field=field,
        ) from problem
    return f"{parsed.local_part}@{parsed.ascii_domain}", parsed.ascii_domain


def _quote(name: str) -> str:
    # RFC 5322, 3.2.3: these need a quoted string.
    if re.search(r'[()<>\[\]:;@\\,."]', name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return name
