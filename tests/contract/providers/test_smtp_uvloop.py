"""The SMTP provider and the sink on uvloop, where the worker runs: its transports differ."""

import asyncio

import uvloop

from tallypost_core.settings.groups import SMTPSettings
from tallypost_providers.smtp import SMTPProvider
from tallypost_providers.types import Outcome
from tallypost_simulators.smtp_faults import Fault, Faults
from tallypost_simulators.smtp_sink import SMTPSink
from tests.support.smtp_peers import wait_until
from tests.unit.providers.emails import make_email

IN_TIME_S = 10.0
SHORT_S = 1.0


async def send_well_and_then_to_a_silent_peer() -> list[Outcome]:
    faults = Faults()
    async with SMTPSink(faults=faults, is_counting=True) as sink:
        settings = SMTPSettings(host="127.0.0.1", port=sink.port, security="none")
        provider = SMTPProvider(settings, "main")
        emails = [make_email(text="x" * 2_000_000) for _ in range(3)]
        results = [await provider.send(email, IN_TIME_S) for email in emails[:2]]
        faults.active.append(Fault(phase="body", action="hang"))
        results.append(await provider.send(emails[2], SHORT_S))
        await wait_until(lambda: sink.open_sessions == 0)
        await provider.close()
        assert set(sink.counts.values()) == {1}
    return [result.recipients[0].outcome for result in results]


def test_provider_and_sink_work_and_hang_up_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcomes = runner.run(send_well_and_then_to_a_silent_peer())
    assert outcomes == [Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.AMBIGUOUS]
