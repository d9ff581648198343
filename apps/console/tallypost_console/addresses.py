"""Addresses of the console's own pages."""

from urllib.parse import urlencode

from tallypost_console.forms import TENANT_FIELD
from tallypost_domain.people.types import TenantRow


def address_of(path: str, **fields: object) -> str:
    """A path with the fields that have a value; live mode is what a page shows by itself."""
    given = {
        name: value
        for name, value in fields.items()
        if value not in (None, "") and (name, value) != ("mode", "live")
    }
    return f"{path}?{urlencode(given)}" if given else path


def of_tenant(address: str, tenant: TenantRow) -> str:
    """An address that is refused as soon as another tenant is open."""
    return f"{address}{'&' if '?' in address else '?'}{TENANT_FIELD}={tenant.id}"
