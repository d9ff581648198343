"""A simulated SES with a provider that speaks to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgspec import Struct

from tallypost_core.settings.loader import Secret
from tallypost_core.settings.providers import SESSettings
from tallypost_providers.ses import SESProvider
from tallypost_simulators.http_faults import HTTPFault
from tallypost_simulators.ses_account import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tallypost_simulators.ses_messages import TakenMessage
from tallypost_simulators.ses_simulator import SESSimulator
from tests.unit.providers.emails import SENDING_DOMAIN


class SES(Struct):
    """Both sides."""

    simulator: SESSimulator
    provider: SESProvider


def make_settings(**others: object) -> SESSettings:
    """Settings of the simulated account; others replace the defaults."""
    fields: dict[str, object] = {
        "region": "eu-west-1",
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": Secret(SECRET_ACCESS_KEY),
        "connections": 4,
    }
    return SESSettings(**(fields | others))  # type: ignore[arg-type]  # Fields differ in type.


@asynccontextmanager
async def running_ses(
    on_message: Callable[[TakenMessage], Awaitable[None]] | None = None, **settings: object
) -> AsyncIterator[SES]:
    """SES with an account that may send from SENDING_DOMAIN, and its provider."""
    async with SESSimulator(on_message=on_message) as simulator:
        simulator.account.add_domain(SENDING_DOMAIN)
        provider = SESProvider(make_settings(**{"endpoint": simulator.url, **settings}), "ses")
        try:
            yield SES(simulator, provider)
        finally:
            await provider.close()


def answer(status: int, name: str, message: str, **headers: str) -> HTTPFault:
    """An error in the form that SES gives it."""
    return HTTPFault(
        action="answer",
        status=status,
        headers={
            "x-amzn-ErrorType": name,
            "x-amzn-RequestId": "request-1",
            "Content-Type": "application/json",
            **{key.replace("_", "-"): value for key, value in headers.items()},
        },
        body=f'{{"message":"{message}"}}'.encode(),
    )
