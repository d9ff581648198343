"""Accounts that workers ask nothing at the moment: said on their page, and marked in the list."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from tallypost_domain.routing.accounts import AccountChange, NewAccount, change_account
from tallypost_domain.routing.standings import NewStanding
from tallypost_domain.routing.troubles import TroubleState
from tallypost_domain.routing.types import AccountStep
from tests.integration.console.accounts import (
    FAILED,
    GOOD,
    PATH,
    SES_SECRETS,
    SES_SETTINGS,
    add_domain,
    name_in_route,
    page_of,
    start_worker,
    write_check,
    write_standing,
    write_trouble,
)
from tests.integration.console.following import follow
from tests.integration.console.reading import main, section, words
from tests.integration.console.running import Browser
from tests.integration.routing.samples import ACTOR, create
from tests.support.database import KEY_RING, Database, SeededTenant

_MEANWHILE = "Until then its routes ask the next account that they name"


async def add_checked(
    database: Database, tenant: SeededTenant, steps: Sequence[AccountStep] = GOOD
) -> UUID:
    """An account that a worker has checked."""
    account_id = await create(database, tenant)
    await write_check(database, tenant, account_id, steps)
    return account_id


@pytest.mark.parametrize(
    ("state", "wait_s", "mark", "cause", "next_step"),
    [
        ("open", 18.5, "Not asked", "Too much failed, since ", "It is tried again in 20 s."),
        ("open", 0.0, "Not asked", "Too much failed, since ", "The next email asks it again."),
        ("open", None, "Not asked", "Too much failed, since ", "It is tried again by itself."),
        (
            "paused",
            170.0,
            "Paused",
            "It asked for a pause, since ",
            "It is asked again in 3 min.",
        ),
        ("paused", 7100.0, "Paused", "It asked for", "It is asked again in 2 h."),
        (
            "half_open",
            None,
            "Being tried",
            "One email is trying it, since ",
            "If it takes that one, more mail goes by it.",
        ),
    ],
)
async def test_trouble_is_said_on_the_page_and_marked_in_the_list(
    owner: Browser,
    database: Database,
    tenant: SeededTenant,
    state: TroubleState,
    wait_s: float | None,
    mark: str,
    cause: str,
    next_step: str,
) -> None:
    account_id = await add_checked(database, tenant)
    await name_in_route(database, tenant, account_id)
    await write_trouble(database, tenant, account_id, await start_worker(database), state, wait_s)
    said = section(await owner.get(page_of(account_id)), "condition")
    assert said.startswith(f"{mark} {cause}")
    assert f"{next_step} {_MEANWHILE}" in said
    listed = words(main(await owner.get(PATH)))
    assert f"Works Own relay SMTP relay – Route 1 {mark} An account takes mail" in listed


async def test_page_follows_an_account_into_trouble_and_out_of_it(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id, worker_id = await add_checked(database, tenant), await start_worker(database)
    await name_in_route(database, tenant, account_id)
    async with follow(owner, f"{page_of(account_id)}/live") as following:
        await following.until("Takes mail")
        await write_trouble(database, tenant, account_id, worker_id, "open", 30.0)
        assert "Takes mail" not in (await following.until("Too much failed")).data
        await write_trouble(database, tenant, account_id, worker_id, None)
        assert "Too much failed" not in (await following.until("Takes mail")).data
    assert "Route 1 On" in words(main(await owner.get(PATH)))


async def test_account_that_no_route_names_is_not_said_to_take_mail(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await add_checked(database, tenant)
    page = await owner.get(page_of(account_id))
    assert 'id="condition"' not in page.text
    assert "No route names it" in section(page, "unused")
    await write_trouble(database, tenant, account_id, await start_worker(database), "paused", 30.0)
    said = section(await owner.get(page_of(account_id)), "condition")
    assert "It is asked again in 30 s." in said
    assert _MEANWHILE not in said


async def test_account_whose_check_failed_is_not_said_to_take_mail(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await add_checked(database, tenant, FAILED)
    await name_in_route(database, tenant, account_id)
    page = await owner.get(page_of(account_id))
    assert "Does not work" in section(page, "check")
    assert "Takes mail" not in page.text


async def test_account_that_is_closed_to_all_domains_is_not_said_to_take_mail(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    ses = NewAccount(name="SES", provider="ses", settings=SES_SETTINGS, secrets=SES_SECRETS)
    account_id = await create(database, tenant, ses)
    await write_check(database, tenant, account_id, GOOD)
    await name_in_route(database, tenant, account_id)
    unverified = NewStanding(status="unverified")
    await write_standing(database, tenant, tenant.domain_id, str(account_id), unverified)
    assert 'id="condition"' not in (await owner.get(page_of(account_id))).text
    await add_domain(database, tenant, "news.example.com")
    assert "Takes mail" in section(await owner.get(page_of(account_id)), "condition")


async def test_account_that_knows_no_domain_yet_is_not_said_to_take_mail(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    ses = NewAccount(name="SES", provider="ses", settings=SES_SETTINGS, secrets=SES_SECRETS)
    account_id = await create(database, tenant, ses)
    await write_check(database, tenant, account_id, GOOD)
    relay_id = await add_checked(database, tenant)
    await name_in_route(database, tenant, account_id, relay_id)
    assert "Takes mail" in section(await owner.get(page_of(account_id)), "condition")
    async with database.session("tp_cli", tenant.id) as session:
        connection = await session.connection()
        await connection.exec_driver_sql("UPDATE domains SET status = 'pending'")
    page = await owner.get(page_of(account_id))
    assert 'id="condition"' not in page.text
    assert "You have no verified domain yet." in section(page, "domains")
    # A mail server has to know none.
    assert "Takes mail" in section(await owner.get(page_of(relay_id)), "condition")


async def test_account_that_is_off_has_no_trouble(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await add_checked(database, tenant)
    await name_in_route(database, tenant, account_id)
    await write_trouble(database, tenant, account_id, await start_worker(database), "open", 30.0)
    async with database.session("tp_console", tenant.id) as session:
        await change_account(
            session,
            tenant.id,
            account_id,
            AccountChange(is_on=False),
            key_ring=KEY_RING,
            actor=ACTOR,
        )
    page = await owner.get(page_of(account_id))
    assert 'id="condition"' not in page.text
    assert "No mail goes by it." in section(page, "off")
    assert "Route 1 Off" in words(main(await owner.get(PATH)))


async def test_trouble_of_another_tenant_is_not_seen(
    owner: Browser,
    other_owner: Browser,
    database: Database,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
) -> None:
    own, theirs = await add_checked(database, tenant), await add_checked(database, other_tenant)
    await name_in_route(database, tenant, own)
    await name_in_route(database, other_tenant, theirs)
    await write_trouble(database, other_tenant, theirs, await start_worker(database), "open", 30.0)
    assert section(await owner.get(page_of(own)), "condition").startswith("Takes mail")
    assert "Not asked" not in (await owner.get(PATH)).text
    assert section(await other_owner.get(page_of(theirs)), "condition").startswith("Not asked")
    assert "Not asked" in words(main(await other_owner.get(PATH)))
