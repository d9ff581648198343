"""A key is revoked: it is dead within a second, also where the API does not hear of it."""

import asyncio
import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

from msgspec import Struct

from tallypost_domain.api_keys.service import revoke_key
from tests.faults.runs import Experiment, Run
from tests.support.database import SeededTenant
from tests.support.programs import wait_until

_DEAD_WITHIN_S = 1.0
_ASK_EVERY_S = 0.01
_ANSWERED_WITHIN_S = 5.0
_REFUSED_WITHIN_S = 30.0
_CLIENTS = 4


class Answer(Struct, frozen=True):
    """What a client was told when it asked with the key."""

    asked_s: float
    status: int | None
    """None where there was no answer in time."""


def _revoke(run: Run) -> None:
    wire = run.links["api", "postgres"]
    clients = run.send(run.pick(small=100, full=1_500), run.pick(small=4.0, full=30.0))

    def nothing() -> None:
        """Leave the wire as it is."""

    def break_off() -> None:
        wire.cut()
        wire.mend()

    def fall_silent() -> None:
        wire.pause("answers")

    for number, (trouble, make) in enumerate(
        (("calm", nothing), ("cut", break_off), ("silent", fall_silent))
    ):
        tenant = run.platform.add_tenant(f"keys-{number}.example.com")
        late_s = _last_taken_s(run, tenant, make)
        wire.mend()
        run.at_most(
            f"seconds that a revoked key lives on a wire that is {trouble}", late_s, _DEAD_WITHIN_S
        )
        clients.sending_for(_DEAD_WITHIN_S)
    run.note_healed()
    run.forbid_restarts()


def _last_taken_s(run: Run, tenant: SeededTenant, make_trouble: Callable[[], None]) -> float:
    """Seconds from the revocation to when the key was last presented and taken."""
    with _asking(run.platform.api_url, tenant.live_key.token) as answers:
        wait_until(
            lambda: any(answer.status == 200 for answer in answers),
            within_s=_REFUSED_WITHIN_S,
            what="the key is taken",
        )
        make_trouble()
        revoked_s = asyncio.run(_revoke_key(run, tenant))
        time.sleep(2 * _DEAD_WITHIN_S)
        run.links["api", "postgres"].mend()
        wait_until(
            lambda: answers[-1].status == 403,
            within_s=_REFUSED_WITHIN_S,
            what="the key is refused",
        )
    taken_s = [answer.asked_s for answer in answers if answer.status == 200]
    return max(0.0, max(taken_s) - revoked_s)


async def _revoke_key(run: Run, tenant: SeededTenant) -> float:
    """When it was about to be committed."""
    async with run.platform.database.session("tp_cli", tenant.id) as session:
        await revoke_key(session, tenant.id, tenant.live_key.id)
        return time.monotonic()


@contextmanager
def _asking(api_url: str, token: str) -> Iterator[list[Answer]]:
    """What several clients are told that ask all the time, as it comes in."""
    answers: list[Answer] = []
    is_over = False

    def ask() -> None:
        while not is_over:
            answers.append(_ask(api_url, token))
            time.sleep(_ASK_EVERY_S)

    with ThreadPoolExecutor(_CLIENTS) as threads:
        clients = [threads.submit(ask) for _ in range(_CLIENTS)]
        try:
            yield answers
        finally:
            is_over = True
        for client in clients:
            client.result()


def _ask(api_url: str, token: str) -> Answer:
    address = urlsplit(api_url)
    connection = http.client.HTTPConnection(
        address.hostname or "", address.port, timeout=_ANSWERED_WITHIN_S
    )
    asked_s = time.monotonic()
    try:
        connection.request("GET", "/emails", headers={"Authorization": f"Bearer {token}"})
        return Answer(asked_s, connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        return Answer(asked_s, None)
    finally:
        connection.close()


EXPERIMENTS = (Experiment(name="keys-revoked", play=_revoke, workers=1),)
