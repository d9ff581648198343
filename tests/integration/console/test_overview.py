"""The operators' overview: the whole installation in numbers, and in nothing but numbers."""

import re
from collections import Counter
from uuid import UUID

import httpx

from tallypost_core.ids import new_id
from tallypost_domain.queue.account_states import AccountCondition, AccountState, write_states
from tallypost_domain.queue.claims import LEASE_S, beat
from tallypost_domain.queue.samples import AGE_BOUNDS_S, Sample, write_samples
from tallypost_providers.types import Outcome
from tests.integration.console.reading import main, tile, words
from tests.integration.console.running import Browser
from tests.integration.emails.every_status import add_every_status
from tests.integration.queue.harness import Harness
from tests.integration.queue.people import let_fail
from tests.support.database import Database, SeededTenant

_LONG_AGO = """
    INSERT INTO delivery_samples (
        at, worker_id, provider, ages, accepted, rejected, deferred, throttled, suspended,
        unavailable, ambiguous
    ) VALUES (now() - make_interval(secs => $1), $2, 'smtp', $3, $4, 0, 0, 0, 0, 0, 0)
"""
_NO_AGES = [0] * (len(AGE_BOUNDS_S) + 1)


async def hand_over(database: Database, provider: str, *ages_s: float, **recipients: int) -> None:
    """Write what a worker did just now: recipients by outcome, and the ages of emails."""
    sample = Sample.empty()
    sample.outcomes = Counter({Outcome(name): number for name, number in recipients.items()})
    for age_s in ages_s:
        sample.add_age(age_s)
    async with database.pool("tp_worker") as pool:
        await write_samples(pool, new_id(), [(provider, sample)])


async def hand_over_before(database: Database, seconds: float, accepted: int) -> None:
    """Write what a worker did some time ago."""
    async with database.connect("tp_worker") as worker:
        await worker.execute(_LONG_AGO, seconds, new_id(), _NO_AGES, accepted)


def panel(page: httpx.Response, heading: str) -> str:
    """The part under a heading, as it is read."""
    return words(main(page).split(f"<h2>{heading}</h2>")[1].partition("</section>")[0])


def workers(page: httpx.Response) -> dict[UUID, str]:
    """What is said of each worker."""
    found = re.findall(r"<li>(.*?)</li>", main(page).rpartition("<h2>Workers</h2>")[2], re.DOTALL)
    said = [words(item).split() for item in found]
    return {UUID(id_): state for state, id_, *_ in said}


async def test_installation_at_rest_says_that_nothing_is_going_on(operator: Browser) -> None:
    page = await operator.get("/overview")
    assert page.status_code == 200
    assert tile(page, "Sent a second").value == "0.0"
    assert tile(page, "Accepted to sent, p95").value == "–"
    assert tile(page, "Due now").note == "nothing waits"
    assert tile(page, "Workers").note == "none is running"
    assert "Nothing was handed over in that time." in page.text
    assert "Nothing is sent until one does." in page.text


async def test_rate_and_age_are_those_of_the_last_minute(
    operator: Browser, database: Database
) -> None:
    await hand_over(database, "smtp", *[0.2] * 20, accepted=90)
    await hand_over(database, "ses", accepted=30, rejected=60)
    await hand_over_before(database, 90, 6_000)
    page = await operator.get("/overview")
    assert tile(page, "Sent a second").value == "2.0"
    # Between the bounds of its class, 0.1 and 0.25 s.
    assert re.fullmatch(r"2[34]\d ms", tile(page, "Accepted to sent, p95").value)


async def test_outcomes_are_counted_by_provider(operator: Browser, database: Database) -> None:
    await hand_over(database, "smtp", accepted=1_200, rejected=3)
    await hand_over(database, "ses", throttled=7, ambiguous=1)
    await hand_over_before(database, 120, 34)
    await hand_over_before(database, 400, 5_000)
    said = panel(await operator.get("/overview"), "Providers, last five minutes")
    columns = "Accepted Rejected Deferred Throttled Suspended Unavailable Ambiguous"
    assert said.endswith(f"{columns} ses 0 0 0 7 0 0 1 smtp 1,234 3 0 0 0 0 0")


async def test_chart_rises_where_something_was_handed_over(
    operator: Browser, database: Database
) -> None:
    def heights(page: httpx.Response) -> set[str]:
        points = re.findall(r'class="line delivered" points="([^"]*)"', page.text)[0].split()
        return {point.partition(",")[2] for point in points}

    assert len(heights(await operator.get("/overview"))) == 1
    await hand_over_before(database, 60, 40)
    assert len(heights(await operator.get("/overview"))) == 2


async def test_queue_of_all_tenants_is_summed(
    operator: Browser, queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await queue.add_bulk(tenant)
    for owner in (tenant, other_tenant):
        await add_every_status(queue, owner)
    page = await operator.get("/overview")
    said = panel(page, "Queue")
    # Each tenant has a scheduled, a queued, a deferred and an unconfirmed one that wait.
    assert "Bulk, due 1 · oldest" in said
    assert "Waiting 9" in said
    assert "Held 2" in said
    assert "Dead letters 2" in said
    assert tile(page, "Due now").value == "3"
    assert tile(page, "Due now").note.startswith("oldest ")


async def test_worker_whose_lease_is_over_is_gone(operator: Browser, queue: Harness) -> None:
    alive, gone = await queue.start_worker(), await queue.start_worker()
    await queue.age_beat(gone, LEASE_S + 1)
    page = await operator.get("/overview")
    assert workers(page) == {alive: "Alive", gone: "Gone"}
    assert tile(page, "Workers").value == "1"


async def test_numbers_name_nobody(
    operator: Browser, queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    for owner in (tenant, other_tenant):
        await queue.add(owner, to=["ada@r.test"], subject="A secret")
    await let_fail(queue, tenant)
    page = (await operator.get("/overview")).text
    for private in ("r.test", "A secret", "sample tenant", tenant.domain, str(other_tenant.id)):
        assert private not in page.replace("operator@example.net", "")


async def test_gallery_shows_each_component_to_operators(operator: Browser) -> None:
    page = await operator.get("/gallery")
    assert page.status_code == 200
    for said in ("Unconfirmed", "Suspended", "The mailbox is full.", "No email matches"):
        assert said in page.text


async def test_accounts_are_shown_as_the_workers_see_them(
    operator: Browser, database: Database
) -> None:
    assert "No worker has said yet" in panel(await operator.get("/overview"), "Provider accounts")
    first, second = new_id(), new_id()
    well = AccountState("smtp", "smtp", AccountCondition.WELL)
    down = AccountState("ses", "ses", AccountCondition.OPEN, 42.0)
    async with (
        database.connect("tp_deliver") as deliverer,
        database.pool("tp_worker") as pool,
    ):
        for worker_id in (first, second):
            await beat(deliverer, worker_id)
            await write_states(pool, worker_id, [well])
        await write_states(pool, second, [down])
    said = panel(await operator.get("/overview"), "Provider accounts")
    assert re.search(r"Breaker open ses seen by 1 worker since .*, asked again in 4[012]", said)
    assert re.search(r"Takes mail smtp seen by 2 workers since", said)
