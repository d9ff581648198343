"""Reads the settings in a body, so that what is wrong is named by its place there: `settings.host`.

A value may be of any type here: the provider's own reader says which one it should have been, and
of which setting.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Final

from msgspec import Meta

from tallypost_providers import tenant_accounts
from tallypost_providers.errors import InvalidAccountSettings
from tallypost_providers.tenant_accounts import Networks, TenantSettings

_TYPES: Final = ("string", "integer", "number", "boolean", "null")

# Of these types for the description only, which is as narrow as what is taken in the end.
Settings = dict[
    str,
    Annotated[
        object,
        Meta(
            description="Of the type that the setting has.",
            extra_json_schema={"anyOf": [{"type": type_} for type_ in _TYPES]},
        ),
    ],
]


def read_settings(
    provider: str, raw: Mapping[str, object], *, allowed_networks: Networks
) -> TenantSettings:
    """As `tenant_accounts.read_settings`; errors name places in the body."""
    with _named_by_place():
        return tenant_accounts.read_settings(provider, raw, allowed_networks=allowed_networks)


def merge_settings(
    provider: str,
    plain: Mapping[str, object],
    secret: Mapping[str, str],
    raw: Mapping[str, object],
    *,
    allowed_networks: Networks,
) -> TenantSettings:
    """As `tenant_accounts.merge_settings`; errors name places in the body."""
    with _named_by_place():
        return tenant_accounts.merge_settings(
            provider, plain, secret, raw, allowed_networks=allowed_networks
        )


@contextmanager
def _named_by_place() -> Iterator[None]:
    try:
        yield
    except InvalidAccountSettings as error:
        place = f"settings.{error.field}"
        message = error.message.replace(f"`{error.field}`", f"`{place}`")
        # Not from it, which has the field at another place.
        raise InvalidAccountSettings(message, field=place) from None
