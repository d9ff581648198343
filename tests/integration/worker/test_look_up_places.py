"""An email for which a real account has no place is not asked about, and proves nothing."""

import asyncio
from typing import cast

from msgspec.structs import replace

from tallypost_domain.queue.loading import Silence
from tallypost_simulators.http_faults import HTTPFault
from tests.integration.worker.loops import until
from tests.support.sendgrid import sendgrid_stage
from tests.unit.providers.emails import make_email
from tests.unit.worker.test_look_ups import ADDRESSES, WAITS, Account, Stage, make_loaded

IN_TIME_S = 300.0


async def test_account_without_a_free_place_was_not_asked_however_often_that_is() -> None:
    async with sendgrid_stage(connections=1) as (simulator, provider):
        simulator.faults.replace(HTTPFault(action="hang"))
        handover = asyncio.create_task(provider.send(make_email(), IN_TIME_S))

        async def is_on_the_wire() -> bool:
            return bool(simulator.messages)

        await until(is_on_the_wire)
        stage = Stage(cast("Account", provider))
        silence = Silence(provider="sendgrid", account="main", age_s=60, recipients=ADDRESSES)
        email = make_loaded(stage.tenant_id, silence)
        settlement = await stage.settle(email)
        assert (settlement.attempt, settlement.changes) == (None, ())
        # A question that failed would have used up the patience by now.
        stage.now_s = WAITS.patience_s
        older = replace(silence, age_s=60 + WAITS.patience_s)
        settlement = await stage.settle(replace(email, silence=older))
        assert (settlement.attempt, settlement.changes) == (None, ())
        simulator.faults.replace()
        await handover
