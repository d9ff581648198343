"""How to get into the sample data: logins and keys, kept in `.tallypost/seed.env` (0600)."""

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from tallypost_cli import folders

FILE_NAME = "seed.env"

_NOTE = "Logins and keys of the sample data, made by `tallypost seed`."


class TenantAccess(Struct, frozen=True):
    """One sample tenant: its owner's login, its API keys, and an address it may send from."""

    owner_email: str
    owner_password: str
    live_key: str
    test_key: str
    sender: str


class SampleAccess(Struct, frozen=True):
    """The logins and keys of all sample data. A value is empty as long as it was not made."""

    first: TenantAccess
    second: TenantAccess
    operator_email: str
    operator_password: str

    @property
    def is_complete(self) -> bool:
        """True where everything was made, so there is nothing left to seed."""
        return all(value for _, value in _assignments(self))


def read(path: Path) -> SampleAccess:
    """Read what the seed wrote; what is not in the file, or the whole file, is empty."""
    values = folders.read_assignments(path)

    def tenant(prefix: str) -> TenantAccess:
        names = TenantAccess.__struct_fields__
        return TenantAccess(**{name: values.get(prefix + name.upper(), "") for name in names})

    return SampleAccess(
        first=tenant(""),
        second=tenant("SECOND_"),
        operator_email=values.get("OPERATOR_EMAIL", ""),
        operator_password=values.get("OPERATOR_PASSWORD", ""),
    )


def write(path: Path, access: SampleAccess) -> None:
    """Keep logins and keys for the next start to print."""
    folders.write_assignments(path, _NOTE, dict(_assignments(access)))


def _assignments(access: SampleAccess) -> Iterator[tuple[str, str]]:
    for prefix, tenant in (("", access.first), ("SECOND_", access.second)):
        for name in TenantAccess.__struct_fields__:
            yield prefix + name.upper(), getattr(tenant, name)
    yield "OPERATOR_EMAIL", access.operator_email
    yield "OPERATOR_PASSWORD", access.operator_password
