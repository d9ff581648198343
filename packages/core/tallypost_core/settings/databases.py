"""The database logins of each app."""

from typing import Annotated

from msgspec import Meta, Struct

from tallypost_core.settings.loader import Secret


class APIDatabaseSettings(Struct, frozen=True):
    """The API's two database logins."""

    api_url: Annotated[
        Secret, Meta(description="postgresql:// address with the login of role tp_api.")
    ]
    accept_url: Annotated[
        Secret,
        Meta(description="postgresql:// address with the login of role tp_accept, insert-only."),
    ]


class NotificationsSettings(Struct, frozen=True):
    """How a process hears of changes in the database."""

    url: Annotated[
        Secret | None,
        Meta(
            description="postgresql:// address with the login of role tp_api, of the server itself "
            "or of a pooler of sessions: LISTEN does not work through a pooler of transactions. "
            "Unset, it is TALLYPOST_DATABASE_API_URL."
        ),
    ] = None


class ConsoleDatabaseSettings(Struct, frozen=True):
    """The console's database logins: its own, and those that it sends by."""

    console_url: Annotated[
        Secret, Meta(description="postgresql:// address with the login of role tp_console.")
    ]
    api_url: Annotated[
        Secret, Meta(description="postgresql:// address with the login of role tp_api.")
    ]
    accept_url: Annotated[
        Secret,
        Meta(description="postgresql:// address with the login of role tp_accept, insert-only."),
    ]


class TemplatesDatabaseSettings(Struct, frozen=True):
    """The templates app's database login."""

    templates_url: Annotated[
        Secret, Meta(description="postgresql:// address with the login of role tp_templates.")
    ]


class BillingDatabaseSettings(Struct, frozen=True):
    """The billing app's database login."""

    billing_url: Annotated[
        Secret, Meta(description="postgresql:// address with the login of role tp_billing.")
    ]


class WorkerDatabaseSettings(Struct, frozen=True):
    """The worker's two database logins."""

    deliver_url: Annotated[
        Secret, Meta(description="postgresql:// address with the login of role tp_deliver.")
    ]
    worker_url: Annotated[
        Secret, Meta(description="postgresql:// address with the login of role tp_worker.")
    ]


class BouncesDatabaseSettings(Struct, frozen=True):
    """The bounces app's database login."""

    bounces_url: Annotated[
        Secret, Meta(description="postgresql:// address with the login of role tp_bounces.")
    ]


class InboxDatabaseSettings(Struct, frozen=True):
    """The local mail sink's database login."""

    inbox_url: Annotated[
        Secret, Meta(description="postgresql:// address with the login of role tp_inbox.")
    ]


class CLIDatabaseSettings(Struct, frozen=True):
    """The command line's database logins."""

    owner_url: Annotated[
        Secret | None,
        Meta(
            description="postgresql:// address of the database's owner, used by `migrate` only. "
            "Unset, `tallypost up` starts an embedded server."
        ),
    ] = None
    cli_url: Annotated[
        Secret | None,
        Meta(description="postgresql:// address with the login of role tp_cli, for `seed`."),
    ] = None
