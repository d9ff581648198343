"""What an operator sets for the platform's own providers and for their local stand-ins."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tallypost_core.settings.checks import require_address, require_positive
from tallypost_core.settings.loader import Secret


class SMTPSettings(Struct, frozen=True):
    """The platform's SMTP provider."""

    host: Annotated[str | None, Meta(description="Host of the SMTP relay.")] = None
    port: Annotated[int, Meta(ge=1, le=65535, description="Port of the SMTP relay.")] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(
            description="starttls demands STARTTLS, tls speaks TLS from the first byte, none is "
            "plain text for loopback and tests."
        ),
    ] = "starttls"
    username: Annotated[str | None, Meta(description="Login of the SMTP relay.")] = None
    password: Annotated[Secret | None, Meta(description="Password of the SMTP relay.")] = None
    connections: Annotated[
        int,
        Meta(
            ge=1,
            le=500,
            description="Connections that one worker process keeps to the SMTP relay. Postfix "
            "takes 50 of a client unless told otherwise, so the default suits two processes.",
        ),
    ] = 25
    rate_per_s: Annotated[
        float | None,
        Meta(
            description="Emails a second that all workers together hand over to the SMTP relay; "
            "more than 0. Unset, the relay itself refuses what is too fast.",
            extra={"check": require_positive},
        ),
    ] = None
    connections_per_domain: Annotated[
        int | None,
        Meta(
            ge=1,
            le=500,
            description="Emails at a time that one worker process hands to the SMTP relay for one "
            "recipient domain, so that a domain that is slow leaves room for others. Unset, as "
            "many as there are connections.",
        ),
    ] = None


class SESSettings(Struct, frozen=True):
    """The platform's account at Amazon SES; read where `ses` is one of the providers."""

    region: Annotated[str | None, Meta(description="Region of the account, such as eu-west-1.")] = (
        None
    )
    access_key_id: Annotated[
        str | None,
        Meta(
            description="Id of an access key. Unset, the usual credentials of AWS are used: "
            "variables, profile, or the role of the machine."
        ),
    ] = None
    secret_access_key: Annotated[Secret | None, Meta(description="Secret of that access key.")] = (
        None
    )
    configuration_set: Annotated[
        str | None,
        Meta(description="Configuration set of each message; SES reports events by it."),
    ] = None
    tenant_name: Annotated[
        str | None, Meta(description="Tenant of SES that each message is sent for.")
    ] = None
    endpoint: Annotated[
        str | None,
        Meta(
            description="Address of a VPC endpoint, or of a simulator on loopback. Unset, it is "
            "that of the Region.",
            extra={"check": require_address},
        ),
    ] = None
    rate_per_s: Annotated[
        float | None,
        Meta(
            description="Emails a second that all workers together hand over, such as the sending "
            "rate of the account where each email has one recipient; more than 0. Unset, SES "
            "itself refuses what is too fast.",
            extra={"check": require_positive},
        ),
    ] = None
    connections: Annotated[
        int,
        Meta(
            ge=1,
            le=500,
            description="Connections that one worker process keeps to SES. Each hands over one "
            "message at a time.",
        ),
    ] = 25


class SendGridSettings(Struct, frozen=True):
    """The platform's account at SendGrid; read where `sendgrid` is one of the providers."""

    api_key: Annotated[
        Secret | None,
        Meta(
            description="API key with Mail Send and Sender Authentication, and with Email Activity "
            "where that is asked. A subuser's mail needs a key that was made in the subuser."
        ),
    ] = None
    region: Annotated[
        Literal["global", "eu"],
        Meta(description="eu for the key of a subuser of the EU region, global for all others."),
    ] = "global"
    endpoint: Annotated[
        str | None,
        Meta(
            description="Address of a simulator on loopback, or of a proxy by https. Unset, it is "
            "that of the region.",
            extra={"check": require_address},
        ),
    ] = None
    activity_lookup: Annotated[
        bool,
        Meta(
            description="Whether the Email Activity Feed may be asked if an unconfirmed email was "
            "taken. SendGrid sells it as an add-on."
        ),
    ] = False
    rate_per_s: Annotated[
        float | None,
        Meta(
            description="Emails a second that all workers together hand over to SendGrid; more "
            "than 0. Unset, SendGrid itself refuses what is too fast.",
            extra={"check": require_positive},
        ),
    ] = None
    connections: Annotated[
        int,
        Meta(
            ge=1,
            le=500,
            description="Connections that one worker process keeps to SendGrid. Each hands over "
            "one email at a time.",
        ),
    ] = 25


class LocalSMTPSettings(Struct, frozen=True):
    """Local default: the sink that fills the Inbox."""

    port: Annotated[int, Meta(ge=1, le=65535, description="Port of the local mail sink.")] = 1025
    host: Annotated[str, Meta(description="Address that the local mail sink binds.")] = "127.0.0.1"
    control_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Port on 127.0.0.1 where the local mail sink lets its faults be turned; "
            "`tallypost demo` sets it. With 0 nobody can.",
        ),
    ] = 0
    control_token: Annotated[
        Secret | None,
        Meta(description="What that port takes as a bearer token; needed where the port is set."),
    ] = None


class SimulatedSESSettings(Struct, frozen=True):
    """The stand-in for Amazon SES that `tallypost demo` starts and sets."""

    port: Annotated[
        int, Meta(ge=1, le=65535, description="Port of the stand-in for Amazon SES, on 127.0.0.1.")
    ] = 1026
    domains: Annotated[
        tuple[str, ...], Meta(description="Domains that it takes for verified, and sends for.")
    ] = ()
    control_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Port on 127.0.0.1 where its faults can be turned. With 0 nobody can.",
        ),
    ] = 0
    control_token: Annotated[
        Secret | None,
        Meta(description="What that port takes as a bearer token; needed where the port is set."),
    ] = None
