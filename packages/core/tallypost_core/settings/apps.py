"""The settings of each app. They stand together so that a variable known to one app is never
mistaken for a typing error by another, and so that `docs/settings.md` has one source."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Annotated, TypeVar

from msgspec import Meta, Struct

from tallypost_core.settings import databases, groups
from tallypost_core.settings.loader import SettingsError, fail_start_up, load_settings
from tallypost_core.settings.plugins import list_plugin_prefixes
from tallypost_core.settings.providers import (
    LocalSMTPSettings,
    SendGridSettings,
    SESSettings,
    SimulatedSESSettings,
    SMTPSettings,
)
from tallypost_core.settings.tenant_accounts import TenantAccountsSettings, TenantHostsSettings

S = TypeVar("S", bound=Struct)


class APISettings(Struct, frozen=True):
    """Settings of the public API."""

    database: databases.APIDatabaseSettings
    secrets: groups.SecretsSettings
    objects: groups.ObjectsSettings
    api: groups.APIListenSettings
    accept: groups.AcceptSettings
    log: groups.LogSettings
    redis: groups.APIRedisSettings = groups.APIRedisSettings()
    notifications: databases.NotificationsSettings = databases.NotificationsSettings()
    tracing: groups.TracingSettings = groups.TracingSettings()
    tenant_accounts: TenantHostsSettings = TenantHostsSettings()


class ConsoleSettings(Struct, frozen=True):
    """Settings of the console."""

    database: databases.ConsoleDatabaseSettings
    secrets: groups.SecretsSettings
    objects: groups.ObjectsSettings
    console: groups.ConsoleListenSettings
    log: groups.LogSettings
    tracing: groups.TracingSettings = groups.TracingSettings()
    tenant_accounts: TenantHostsSettings = TenantHostsSettings()


class TemplatesSettings(Struct, frozen=True):
    """Settings of the recipient-facing app."""

    database: databases.TemplatesDatabaseSettings
    templates: groups.TemplatesListenSettings
    log: groups.LogSettings


class BillingSettings(Struct, frozen=True):
    """Settings of the billing app."""

    database: databases.BillingDatabaseSettings
    redis: groups.RedisSettings
    billing: groups.BillingListenSettings
    log: groups.LogSettings


class WorkerSettings(Struct, frozen=True):
    """Settings of the worker."""

    database: databases.WorkerDatabaseSettings
    redis: groups.RedisSettings
    secrets: groups.SecretsSettings
    objects: groups.ObjectsSettings
    delivery: groups.DeliverySettings
    smtp: SMTPSettings
    worker: groups.WorkerListenSettings
    log: groups.LogSettings
    providers: Annotated[
        tuple[str, ...],
        Meta(
            description="The platform's providers, best first: `smtp`, `ses`, `sendgrid`, and what "
            "`tallypost plugins` lists besides."
        ),
    ] = ("smtp",)
    subscribers: Annotated[
        tuple[str, ...],
        Meta(
            description="Plugins that are told of events, as `tallypost plugins` lists them. "
            "Unset, there are none."
        ),
    ] = ()
    subscriber: groups.SubscriberSettings = groups.SubscriberSettings()
    ses: SESSettings = SESSettings()
    sendgrid: SendGridSettings = SendGridSettings()
    tracing: groups.TracingSettings = groups.TracingSettings()
    tenant_accounts: TenantAccountsSettings = TenantAccountsSettings()


class BouncesSettings(Struct, frozen=True):
    """Settings of the bounces app."""

    database: databases.BouncesDatabaseSettings
    bounces: groups.BouncesListenSettings
    log: groups.LogSettings


class LocalInboxSettings(Struct, frozen=True):
    """Settings of the local mail sink that stands in for the outside world."""

    database: databases.InboxDatabaseSettings
    inbox: LocalSMTPSettings
    log: groups.LogSettings


class LocalSESSettings(Struct, frozen=True):
    """Settings of the demo's stand-in for Amazon SES."""

    database: databases.InboxDatabaseSettings
    local_ses: SimulatedSESSettings
    log: groups.LogSettings


class CLISettings(Struct, frozen=True):
    """Settings of the command line, all optional: what is missing it starts or makes itself."""

    database: databases.CLIDatabaseSettings
    redis: groups.CLIRedisSettings
    log: groups.LogSettings
    port_base: Annotated[
        int,
        Meta(
            ge=1,
            le=65000,
            description="Local ports move by its difference to 8000, the Inbox's 1025 too.",
        ),
    ] = 8000


APP_SETTINGS: dict[str, type[Struct]] = {
    "api": APISettings,
    "console": ConsoleSettings,
    "templates": TemplatesSettings,
    "billing": BillingSettings,
    "worker": WorkerSettings,
    "bounces": BouncesSettings,
    "local inbox": LocalInboxSettings,
    "local SES": LocalSESSettings,
    "command line": CLISettings,
}


def load(struct: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """Read an app's settings; raises SettingsError with every problem at once.

    Variables of a plugin are left alone, unless struct has its group.
    """
    known: tuple[type[Struct], ...] = (*APP_SETTINGS.values(), struct)
    return load_settings(struct, environ, known, partial(list_plugin_prefixes, known, environ))


def load_or_exit(struct: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """As `load`, for an app's entry point: prints the problems and ends the process."""
    try:
        return load(struct, environ)
    except SettingsError as error:
        fail_start_up(error)
