"""One provider account of a tenant: its check, its domains, its settings, and its end."""

import re
from pathlib import Path
from uuid import UUID

from tallypost_core.ids import new_id
from tallypost_domain.db.pools import transaction
from tallypost_domain.routing.accounts import NewAccount, request_check
from tallypost_domain.routing.standings import NewStanding
from tallypost_domain.routing.types import DomainRecord
from tests.integration.console.accounts import (
    FAILED,
    GOOD,
    PATH,
    SES_SECRETS,
    SES_SETTINGS,
    add_domain,
    list_stored,
    name_in_route,
    page_of,
    write_check,
    write_standing,
)
from tests.integration.console.following import follow
from tests.integration.console.mail import accept
from tests.integration.console.reading import hidden_fields, links, main, section, words
from tests.integration.console.running import Browser
from tests.integration.routing.samples import create
from tests.support.database import Database, SeededTenant

SES = NewAccount(name="SES", provider="ses", settings=SES_SETTINGS, secrets=SES_SECRETS)
RECORDS = (
    DomainRecord(
        type="CNAME", name="a._domainkey.example.com", value="a.dkim.example.net", is_found=True
    ),
    DomainRecord(
        type="CNAME", name="b._domainkey.example.com", value="b.dkim.example.net", is_found=False
    ),
)


async def test_failed_check_is_shown_step_by_step_in_the_peers_words(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    await write_check(database, tenant, account_id, FAILED)
    page = await owner.get(page_of(account_id))
    assert "Does not work The check came to “connect” and failed there." in section(page, "check")
    assert section(page, "steps") == (
        "Check, step by step Look up Good 192.0.2.25 "
        "Connect Failed 421 4.3.2 come back another day Log in Not tried"
    )


async def test_check_is_asked_for_and_the_page_follows_it(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    await write_check(database, tenant, account_id, FAILED)
    answer = await owner.submit_with_token(page_of(account_id), f"{page_of(account_id)}/check")
    assert (answer.status_code, answer.headers["location"]) == (303, page_of(account_id))
    page = await owner.get(page_of(account_id))
    assert "Being checked again" in section(page, "check")
    assert "Of the check before" in section(page, "steps")
    async with follow(owner, f"{page_of(account_id)}/live") as following:
        await following.until("Being checked again")
        await write_check(database, tenant, account_id, GOOD)
        await following.until("Every step went well.")


async def test_switch_is_turned_and_the_page_says_so(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    path = page_of(account_id)
    for is_on, label in ((False, "Switch on"), (True, "Switch off")):
        fields = hidden_fields(await owner.get(path), f"{path}/switch")
        assert (await owner.submit(f"{path}/switch", **fields)).status_code == 303
        (account,) = await list_stored(database, tenant)
        assert account.is_on is is_on
        page = await owner.get(path)
        assert label in page.text
        assert ("No mail goes by it." in page.text) is not is_on
    wrong = await owner.submit_with_token(path, f"{path}/switch", is_on="perhaps")
    assert wrong.status_code == 422


async def test_account_is_deleted(owner: Browser, database: Database, tenant: SeededTenant) -> None:
    path = page_of(await create(database, tenant))
    answer = await owner.submit_with_token(path, f"{path}/delete")
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    assert await list_stored(database, tenant) == ()
    assert (await owner.get(path)).status_code == 404


async def test_page_of_an_account_that_was_deleted_elsewhere_is_not_live_any_more(
    owner: Browser, viewer: Browser, database: Database, tenant: SeededTenant
) -> None:
    path = page_of(await create(database, tenant))
    async with follow(owner, f"{path}/live") as following, follow(viewer, f"{path}/live") as other:
        for each in (following, other):
            await each.until("Being checked")
        assert (await owner.submit_with_token(path, f"{path}/delete")).status_code == 303
        for each in (following, other):
            assert await each.next() is None
    # A browser comes back, and is told.
    assert (await viewer.get(f"{path}/live")).status_code == 404


async def test_account_that_routes_name_stays_and_the_page_says_which_ones(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    await name_in_route(database, tenant, account_id, times=2)
    path = page_of(account_id)
    page = await owner.get(path)
    assert "Delete for good" not in page.text
    assert "Routes 1 and 2 name “Own relay”" in words(main(page))
    assert "Route 1 All mail → Own relay, then the platform" in section(page, "routes")
    refused = await owner.submit_with_token(path, f"{path}/delete")
    assert refused.status_code == 409
    assert "It was not deleted, for routes 1 and 2 name it." in words(main(refused))
    assert len(await list_stored(database, tenant)) == 1


async def test_account_that_no_route_names_leads_to_a_new_route(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    page = await owner.get(page_of(account_id))
    assert "No route names it, so no mail goes by it." in words(main(page))
    form = await owner.get(links(page)["Add a route"])
    assert f'<option value="{account_id}" selected>Own relay</option>' in form.text
    await name_in_route(database, tenant, account_id)
    assert "Add a route" not in links(await owner.get(page_of(account_id)))


async def test_domains_are_shown_with_what_the_provider_wants_to_see(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant, SES)
    await add_domain(database, tenant, "news.example.com")
    await add_domain(database, tenant, "pending.example.com", is_verified=False)
    standing = NewStanding(status="unverified", records=RECORDS, detail="DKIM is pending")
    await write_standing(database, tenant, tenant.domain_id, str(account_id), standing)
    said = section(await owner.get(page_of(account_id)), "domains")
    assert "example.com Not verified DKIM is pending" in said
    assert re.search(r"Found Name a\._domainkey\.example\.com .* CNAME", said)
    assert re.search(r"Missing Name b\._domainkey\.example\.com .* b\.dkim\.example\.net", said)
    assert "news.example.com Not asked yet" in said
    assert "pending.example.com" not in said


async def test_account_that_is_off_is_not_said_to_be_asked_about_domains(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    path = page_of(await create(database, tenant, SES))
    assert "A worker asks Amazon SES as soon as it can." in section(
        await owner.get(path), "domains"
    )
    await owner.submit_with_token(path, f"{path}/switch", is_on="off")
    said = section(await owner.get(path), "domains")
    assert "It is not asked while it is off." in said
    assert "as soon as it can" not in said


async def test_viewer_is_told_who_mends_and_checks_an_account(
    owner: Browser, viewer: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    await write_check(database, tenant, account_id, FAILED)
    path = page_of(account_id)
    assert "then check again." in section(await owner.get(path), "check")
    said = section(await viewer.get(path), "check")
    assert "An owner, an admin or a developer mends what the words below name" in said
    await write_check_anew(database, tenant, account_id)
    assert "Check it now." in section(await owner.get(path), "check")
    said = section(await viewer.get(path), "check")
    assert "An owner, an admin or a developer has it checked." in said
    assert "Check it now" not in said


async def write_check_anew(database: Database, tenant: SeededTenant, account_id: UUID) -> None:
    """A check that found nothing at all."""
    async with database.session("tp_console", tenant.id) as session:
        await request_check(session, tenant.id, account_id)
    await write_check(database, tenant, account_id, ())


async def test_mail_server_is_not_said_to_be_asked_about_domains(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant)
    said = section(await owner.get(page_of(account_id)), "domains")
    assert "A mail server is not asked about domains." in said
    assert "Not asked yet" not in said


async def test_attempt_names_the_account_that_was_asked(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    kept, gone = await create(database, tenant), new_id()
    (email_id,) = await accept(database, tmp_path, tenant, "By an own account")
    async with database.pool("tp_deliver") as pool, transaction(pool, [tenant.id]) as link:
        for number, account in enumerate((str(kept), str(gone), "relay"), start=1):
            await link.execute(
                """
                INSERT INTO attempts (
                    tenant_id, email_id, id, attempt, fence, worker_id, provider, account, outcome,
                    phase, recipients, evidence, duration_s
                ) VALUES (
                    $1, $2, $3, $4, 1, $5, 'smtp', $6, 'unavailable', 'connect', '[]', '{}', 0
                )
                """,
                tenant.id,
                email_id,
                new_id(),
                1 if number < 3 else 2,
                new_id(),
                account,
            )
    page = await owner.get(f"/emails/{email_id}")
    said = section(page, "attempts")
    assert "Provider smtp · Own relay" in said
    assert "Moved on to a deleted account" in said
    assert "Provider smtp · a deleted account" in said
    assert "Provider smtp · relay" in said
    assert str(gone) not in page.text
