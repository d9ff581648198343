"""All controllers: what the API serves, and what its description tells of."""

from typing import Final

from litestar import Controller

from tallypost_api.own.provider_accounts import ProviderAccountController
from tallypost_api.own.routes import RouteController, StandingController
from tallypost_api.own.timelines import TimelineController
from tallypost_api.own.unconfirmed_emails import UnconfirmedEmailController
from tallypost_api.rest.emails import EmailController

CONTROLLERS: Final[tuple[type[Controller], ...]] = (
    EmailController,
    TimelineController,
    UnconfirmedEmailController,
    ProviderAccountController,
    RouteController,
    StandingController,
)
