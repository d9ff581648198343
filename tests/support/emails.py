"""Makes emails for tests: valid by default, a test names only what matters to it."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tallypost_core import clock
from tallypost_core.object_store import FolderStore
from tallypost_domain.emails.accept import DEFAULT_LIMITS, Acceptor
from tallypost_domain.emails.limits import Limits
from tallypost_domain.emails.types import NewEmail, Sender
from tallypost_domain.emails.validation import EmailRequest, validate
from tests.support.database import PEPPERS, Database, SeededTenant


def email_request(**fields: Any) -> EmailRequest:
    """A request as a client would write it; `from_` stands for the field `from`."""
    request = {
        "from_": "Sample Sender <hello@example.com>",
        "to": ["first@recipient.test"],
        "subject": "A subject",
        "html": "<p>Hello</p>",
        **fields,
    }
    request["from"] = request.pop("from_")
    return msgspec.convert(request, EmailRequest)


def new_email(*, now: dt.datetime | None = None, **fields: Any) -> NewEmail:
    """A valid email."""
    return validate(email_request(**fields), now=now or clock.utc_now())


def live_sender(tenant: SeededTenant, *, stream: str | None = None) -> Sender:
    """The tenant's live key as a sender."""
    return Sender(tenant.id, tenant.live_key.id, "live", stream)


def sandbox_sender(tenant: SeededTenant) -> Sender:
    """The tenant's test key as a sender."""
    return Sender(tenant.id, tenant.test_key.id, "test", None)


@asynccontextmanager
async def acceptor(
    database: Database, folder: Path, *, limits: Limits = DEFAULT_LIMITS
) -> AsyncIterator[Acceptor]:
    """An acceptor on the logins that the API uses; large attachments go to `folder`."""
    async with (
        database.pool("tp_accept", size=limits.connections) as pool,
        database.sessions("tp_api") as sessions,
    ):
        accept = Acceptor(pool, sessions, FolderStore(folder), PEPPERS, limits=limits)
        yield accept
        await accept.close()
