"""A collector, and a platform in the test's process that sends its traces there."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from msgspec import Struct

from tallypost_core.settings.groups import TracingSettings
from tallypost_simulators.smtp_faults import Faults
from tallypost_simulators.smtp_sink import SMTPSink
from tallypost_telemetry import tracing
from tests.integration.api.conftest import client_of
from tests.integration.queue import reuse
from tests.support.api_server import RunningAPI, api_settings, run_api
from tests.support.database import Database, SeededTenant
from tests.support.otlp_sink import OTLPSink, ReceivedSpan, otlp_sink
from tests.support.worker import eventually, running_worker, worker_environment

reused_database = reuse.reused_database
database = reuse.database


@pytest.fixture
def collector() -> Iterator[OTLPSink]:
    """A collector of this test alone."""
    with otlp_sink() as running:
        yield running


class Site(Struct, frozen=True):
    """An API and a worker that send to a mail server of the test."""

    api: RunningAPI
    faults: Faults
    smtp_port: int
    collector: OTLPSink

    async def send(
        self, tenant: SeededTenant, headers: dict[str, str] | None = None, **fields: object
    ) -> UUID:
        """Send one email as the tenant; returns its id."""
        async with client_of(self.api, tenant.live_key.token) as client:
            body = email_of(tenant, **fields)
            answer = await client.post("/emails", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return UUID(answer.json()["id"])

    async def spans(
        self, name: str, count: int, where: Callable[[ReceivedSpan], bool] = lambda _: True
    ) -> list[ReceivedSpan]:
        """The spans of a name, once so many have arrived."""

        def found() -> list[ReceivedSpan]:
            return [span for span in self.collector.spans(name) if where(span)]

        await eventually(lambda: len(found()) >= count)
        return found()


def email_of(tenant: SeededTenant, **fields: object) -> dict[str, object]:
    """A valid email from the tenant's domain."""
    return {
        "from": f"Sample <hello@{tenant.domain}>",
        "to": "ada@example.net",
        "subject": "Sample",
        "text": "A sample.",
        **fields,
    }


@asynccontextmanager
async def traced_site(
    database: Database, folder: Path, redis_url: str, collector: OTLPSink, *, ratio: float = 1.0
) -> AsyncIterator[Site]:
    """A platform that runs until the block ends; then its last spans are sent."""
    objects = folder / "objects"
    faults = Faults()
    with tracing.running(TracingSettings(endpoint=collector.url, sample_ratio=ratio), "test"):
        async with SMTPSink(faults=faults) as sink:
            environment = worker_environment(
                database, redis_url=redis_url, objects=objects, smtp_port=sink.port
            )
            with run_api(api_settings(database, objects)) as api:
                async with running_worker(environment):
                    yield Site(api, faults, sink.port, collector)


@pytest.fixture
async def site(
    database: Database, tmp_path: Path, redis_url: str, collector: OTLPSink
) -> AsyncIterator[Site]:
    """A platform that traces every request."""
    async with traced_site(database, tmp_path, redis_url, collector) as running:
        yield running
