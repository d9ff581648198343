"""A SendGrid provider with a simulator as its other side."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from tallypost_core.settings.loader import Secret
from tallypost_core.settings.providers import SendGridSettings
from tallypost_providers.sendgrid import SendGridProvider
from tallypost_providers.sendgrid_envelope import read_envelope
from tallypost_providers.sendgrid_mail import write_body
from tallypost_providers.types import OutgoingEmail
from tallypost_simulators.sendgrid_account import API_KEY, TakenMail
from tallypost_simulators.sendgrid_mime import write_message
from tallypost_simulators.sendgrid_server import SendGridSimulator
from tests.unit.providers.emails import SENDING_DOMAIN


def make_provider(
    endpoint: str, *, connections: int = 4, activity_lookup: bool = True, key: str = API_KEY
) -> SendGridProvider:
    """A provider for the API at an address."""
    settings = SendGridSettings(
        api_key=Secret(key),
        endpoint=endpoint,
        connections=connections,
        activity_lookup=activity_lookup,
    )
    return SendGridProvider(settings, "main")


@asynccontextmanager
async def sendgrid_stage(
    on_message: Callable[[TakenMail], None] | None = None, *, connections: int = 4
) -> AsyncIterator[tuple[SendGridSimulator, SendGridProvider]]:
    """Both, and SENDING_DOMAIN may be sent from."""
    async with SendGridSimulator(on_message=on_message) as simulator:
        simulator.domains.add_verified(SENDING_DOMAIN)
        provider = make_provider(simulator.url, connections=connections)
        try:
            yield simulator, provider
        finally:
            await provider.close()


def expected_message(email: OutgoingEmail) -> bytes:
    """What recipients get to see of an email that goes by SendGrid."""
    mail = msgspec.json.decode(write_body(email, read_envelope(email)))
    return write_message(mail, mail["personalizations"][0])
