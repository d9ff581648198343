"""Accounts that tenants have at providers themselves: reads their settings, makes accounts of them.

Importing this imports no adapter and no SDK. What is secret is told from the rest here, so that the
one can be stored encrypted and the other be shown.
"""

import sys
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, cast

from msgspec import Struct

from tallypost_core.settings.loader import Secret
from tallypost_providers.base import clip
from tallypost_providers.errors import InvalidAccountSettings, UnknownProvider
from tallypost_providers.registry import get_provider_class
from tallypost_providers.tenant_fields import Field, Reader, Value, is_blank, list_readers
from tallypost_providers.tenant_settings import (
    PORT_SECURITY,
    TENANT_SETTINGS,
    SendGridTenantSettings,
    SESTenantSettings,
    SMTPTenantSettings,
    find_address,
)
from tallypost_providers.types import Provider
from tallypost_resilience.egress_addresses import is_allowed
from tallypost_resilience.egress_rules import EgressRules

__all__ = [
    "TENANT_SETTINGS",
    "Field",
    "SESTenantSettings",
    "SMTPTenantSettings",
    "SendGridTenantSettings",
    "TenantSettings",
    "create_tenant_account",
    "list_fields",
    "merge_settings",
    "open_settings",
    "read_settings",
]

Networks = tuple[IPv4Network | IPv6Network, ...]

_NOT_PUBLIC: Final = "must be an address on the public internet"


class TenantSettings(Struct, frozen=True, kw_only=True):
    """Settings that were read and can be stored; each value is as JSON has it."""

    plain: dict[str, object]
    """What may be shown; defaults are in it, what is unset is not."""
    secret: dict[str, str]
    """The rest, in the clear. Never logged."""

    def __repr__(self) -> str:
        return f"TenantSettings(plain={self.plain!r}, secret={sorted(self.secret)!r})"


def list_fields(provider: str) -> tuple[Field, ...]:
    """What a tenant can set of an account at a provider; raises UnknownProvider."""
    return tuple(reader.field for reader in _list_readers(provider))


def read_settings(
    provider: str, raw: Mapping[str, object], *, allowed_networks: Networks = ()
) -> TenantSettings:
    """The settings of a new account, as JSON or as the texts of a form.

    A host that is an address must be public, or in allowed_networks; one that is a name is judged
    whenever somebody connects. Raises UnknownProvider, and InvalidAccountSettings for the first
    field that cannot be used.
    """
    readers = _list_readers(provider)
    _require_known(readers, raw)
    read = _read(readers, raw)
    _require_agreed(read)
    _require_public(read, allowed_networks)
    return read


def merge_settings(
    provider: str,
    plain: Mapping[str, object],
    secret: Mapping[str, str],
    raw: Mapping[str, object],
    *,
    allowed_networks: Networks = (),
) -> TenantSettings:
    """Stored settings with what raw changes; what raw leaves out stays.

    A secret stays too where raw has it empty, as a form does that does not show it. Two things end
    a stored password: a user name that is taken away, and another host, which must not be sent what
    was given for the old one. Raises what `read_settings` raises.
    """
    readers = _list_readers(provider)
    _require_known(readers, raw)
    given = {
        reader.field.name
        for reader in readers
        if reader.field.name in raw
        and not (reader.field.is_secret and is_blank(raw[reader.field.name]))
    }
    merged = {**plain, **secret} | {name: raw[name] for name in given}
    if "username" in given and is_blank(raw["username"]) and "password" not in given:
        merged.pop("password", None)
    read = _read(readers, merged)
    _require_agreed(read)
    _require_public(read, allowed_networks)
    if (
        "password" in read.secret
        and "password" not in given
        and read.plain["host"] != plain.get("host")
    ):
        raise InvalidAccountSettings(
            "The `password` field must be given again: what is stored was given for another host.",
            field="password",
        )
    return read


def open_settings(provider: str, plain: Mapping[str, object], secret: Mapping[str, str]) -> Struct:
    """The provider's Struct of `TENANT_SETTINGS`, of what was stored.

    Raises UnknownProvider, and InvalidAccountSettings where this release no longer takes it.
    """
    readers = _list_readers(provider)
    _require_known(readers, {**plain, **secret})
    read = _read(readers, {**plain, **secret})
    secrets = {name: Secret(value) for name, value in read.secret.items()}
    return TENANT_SETTINGS[provider](**read.plain, **secrets)


def create_tenant_account(
    provider: str,
    settings: Struct,
    account: str,
    rules: EgressRules,
    endpoints: Mapping[str, str] | None = None,
    *,
    owner: str,
) -> Provider:
    """An account of a tenant; settings are of its Struct, account is the name that it bears.

    It connects to nothing yet. Where the host is the tenant's choice, only addresses that rules
    allow are connected to, and all accounts of one owner, which is the tenant's id, share what an
    owner may have of look-ups at a time. endpoints, by provider, take the place of the usual
    address of an API; an operator sets them, for simulators. Raises UnknownProvider, and
    ProviderMisconfigured where the provider's adapter cannot be had on this installation.
    """
    struct = _get_struct(provider)
    if not isinstance(settings, struct):
        raise TypeError(f"settings of {provider} are {struct.__name__}")
    # Any: the Protocol has nothing of tenants, since plugins need not serve them.
    provider_class = cast("Any", _find_class(provider, tuple(sys.path)))
    made = provider_class.for_tenant(
        settings,
        account,
        rules=rules,
        owner=owner,
        endpoint=(endpoints or {}).get(provider),
    )
    return cast("Provider", made)


@lru_cache(maxsize=len(TENANT_SETTINGS))
def _find_class(provider: str, _path: tuple[str, ...]) -> type[Provider]:
    """The adapter of a provider; all of _path is read for it, which takes many milliseconds."""
    return get_provider_class(provider)


def _get_struct(provider: str) -> type[Struct]:
    struct = TENANT_SETTINGS.get(provider)
    if struct is None:
        known = ", ".join(TENANT_SETTINGS)
        raise UnknownProvider(f"The `provider` field must be one of {known}.", field="provider")
    return struct


def _list_readers(provider: str) -> tuple[Reader, ...]:
    return list_readers(_get_struct(provider))


def _require_known(readers: tuple[Reader, ...], raw: Mapping[str, object]) -> None:
    names = [reader.field.name for reader in readers]
    for name in raw:
        if name not in names:
            shown = clip(name)[:60]
            raise InvalidAccountSettings(
                f"`{shown}` is no setting of this provider. It has {', '.join(names)}.",
                field=shown,
            )


def _read(readers: tuple[Reader, ...], raw: Mapping[str, object]) -> TenantSettings:
    plain: dict[str, object] = {}
    secret: dict[str, str] = {}
    for reader in readers:
        value: Value | None = reader.read(raw.get(reader.field.name))
        _require_login_whole(reader, value, plain)
        if value is None:
            continue
        if reader.field.is_secret:
            secret[reader.field.name] = str(value)
        else:
            plain[reader.field.name] = value
    return TenantSettings(plain=plain, secret=secret)


def _require_login_whole(reader: Reader, value: Value | None, plain: Mapping[str, object]) -> None:
    """Raise InvalidAccountSettings where only one of user name and password is set."""
    if reader.field.name != "password" or (value is None) == ("username" not in plain):
        return
    missing = "username" if value is not None else "password"
    raise InvalidAccountSettings(
        f"The `{missing}` field is missing: a login has a user name and a password.", field=missing
    )


def _require_agreed(read: TenantSettings) -> None:
    """Raise InvalidAccountSettings where port and encryption contradict each other."""
    port, security = read.plain.get("port"), read.plain.get("security")
    spoken = PORT_SECURITY.get(port) if isinstance(port, int) else None
    if spoken is not None and security != spoken:
        raise InvalidAccountSettings(
            f"The `security` field must be {spoken} with port {port}.", field="security"
        )


def _require_public(read: TenantSettings, allowed: Networks) -> None:
    address = find_address(str(read.plain.get("host", "")))
    if address is not None and not is_allowed(address, allowed):
        raise InvalidAccountSettings(f"The `host` field {_NOT_PUBLIC}.", field="host")
