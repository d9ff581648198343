"""One provider account of a tenant: its check, its domains, its settings, and its end."""

import re
from pathlib import Path

import httpx

from tallypost_core.ids import new_id
from tallypost_domain.db.pools import transaction
from tallypost_domain.routing.accounts import NewAccount
from tallypost_domain.routing.standings import NewStanding
from tallypost_domain.routing.types import DomainRecord
from tests.integration.console.accounts import (
    FAILED,
    GOOD,
    PATH,
    SECRET,
    SES_SECRETS,
    SES_SETTINGS,
    VALID,
    add_account,
    add_domain,
    input_of,
    list_stored,
    name_in_route,
    page_of,
    secrets_of,
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


async def test_settings_are_changed_and_an_empty_secret_keeps_its_value(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    (before,) = await list_stored(database, tenant)
    await write_check(database, tenant, before.id, GOOD)
    changed = {**VALID, "name": "Renamed", "settings-connections": "7", "settings-password": ""}
    answer = await owner.submit_with_token(PATH, page_of(before.id), **changed)
    assert (answer.status_code, answer.headers["location"]) == (303, page_of(before.id))
    (after,) = await list_stored(database, tenant)
    assert (after.name, after.settings["connections"]) == ("Renamed", 7)
    assert after.is_being_checked
    assert await secrets_of(database, tenant, before.id) == {"password": SECRET}


async def test_new_name_alone_has_nothing_checked(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    (before,) = await list_stored(database, tenant)
    await write_check(database, tenant, before.id, GOOD)
    renamed = {**VALID, "name": "Renamed", "settings-password": ""}
    await owner.submit_with_token(PATH, page_of(before.id), **renamed)
    (after,) = await list_stored(database, tenant)
    assert (after.name, after.changed_at) == ("Renamed", before.changed_at)
    assert not after.is_being_checked


async def test_box_that_is_no_longer_ticked_is_off(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    sendgrid = NewAccount(
        name="SendGrid",
        provider="sendgrid",
        settings={"region": "eu", "activity_lookup": True, "connections": 5},
        secrets={"api_key": SECRET},
    )
    account_id = await create(database, tenant, sendgrid)
    path = page_of(account_id)
    assert "checked" in input_of_box(await owner.get(path))
    given = {"name": "SendGrid", "settings-region": "eu", "settings-api_key": ""}
    await owner.submit_with_token(PATH, path, **given)
    (account,) = await list_stored(database, tenant)
    assert account.settings["activity_lookup"] is False
    assert "checked" not in input_of_box(await owner.get(path))


def input_of_box(page: httpx.Response) -> str:
    """The tag of the box, without its type, which is called like its state."""
    found = re.search(r'<input type="checkbox"( id="settings-activity_lookup"[^>]*)>', page.text)
    assert found is not None, "no box"
    return found[1]


async def test_password_does_not_go_to_another_host_unasked(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    (account,) = await list_stored(database, tenant)
    moved = {**VALID, "settings-host": "other.example.net", "settings-password": ""}
    page = await owner.submit_with_token(PATH, page_of(account.id), **moved)
    assert page.status_code == 422
    assert 'aria-invalid="true"' in input_of(page, "settings-password")
    assert 'value="other.example.net"' in input_of(page, "settings-host")
    assert '<details class="panel-like" id="change" open>' in page.text
    assert (await list_stored(database, tenant))[0].settings["host"] == "smtp.example.net"


async def test_secrets_that_no_longer_open_are_given_again(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    (account,) = await list_stored(database, tenant)
    async with database.session("tp_console", tenant.id) as session:
        connection = await session.connection()
        await connection.exec_driver_sql("UPDATE provider_accounts SET secrets = '\\x00'::bytea")
    empty = await owner.submit_with_token(
        PATH, page_of(account.id), **{**VALID, "settings-password": ""}
    )
    assert empty.status_code == 422
    assert 'aria-invalid="true"' in input_of(empty, "settings-password")
    answer = await owner.submit_with_token(PATH, page_of(account.id), **VALID)
    assert answer.status_code == 303
    assert await secrets_of(database, tenant, account.id) == {"password": SECRET}


async def test_account_is_deleted(owner: Browser, database: Database, tenant: SeededTenant) -> None:
    path = page_of(await create(database, tenant))
    answer = await owner.submit_with_token(path, f"{path}/delete")
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    assert await list_stored(database, tenant) == ()
    assert (await owner.get(path)).status_code == 404


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
