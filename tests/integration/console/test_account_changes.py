"""The form that changes a provider account: what stays, what is lost, and what two do at once."""

import asyncio
import html
import re
from uuid import UUID

import httpx
import pytest
from msgspec.structs import replace

from tallypost_domain.routing.accounts import AccountChange, NewAccount, change_account
from tests.integration.console.accounts import (
    GOOD,
    NEW_SMTP,
    PATH,
    SECRET,
    SES_SECRETS,
    SES_SETTINGS,
    VALID,
    add_account,
    input_of,
    list_stored,
    page_of,
    secrets_of,
    write_check,
)
from tests.integration.console.reading import main, words
from tests.integration.console.running import Browser
from tests.integration.routing.samples import ACTOR, break_secrets, create
from tests.support.database import KEY_RING, TEST_READER, Database, SeededTenant

SES = NewAccount(name="SES", provider="ses", settings=SES_SETTINGS, secrets=SES_SECRETS)
NOT_KEPT = "Give it again: what you typed is not kept."
KEEP = "leave this empty to keep it"
MOVED_SECRET = "a-password-of-the-other-host"


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
    await break_secrets(database, tenant)
    empty = await owner.submit_with_token(
        PATH, page_of(account.id), **{**VALID, "settings-password": ""}
    )
    assert empty.status_code == 422
    assert 'aria-invalid="true"' in input_of(empty, "settings-password")
    answer = await owner.submit_with_token(PATH, page_of(account.id), **VALID)
    assert answer.status_code == 303
    assert await secrets_of(database, tenant, account.id) == {"password": SECRET}


async def test_password_of_another_host_that_was_set_meanwhile_stays_there(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    (account,) = await list_stored(database, tenant)
    moved = {**account.settings, "host": "other.example.net"}
    change = AccountChange(settings=moved, secrets={"password": MOVED_SECRET})
    unchanged = {**VALID, "settings-password": ""}
    async with database.connect(TEST_READER) as reader:
        async with database.session("tp_console", tenant.id) as session:
            await change_account(
                session, tenant.id, account.id, change, key_ring=KEY_RING, actor=ACTOR
            )
            sending = asyncio.create_task(
                owner.submit_with_token(PATH, page_of(account.id), **unchanged)
            )
            async with asyncio.timeout(10):
                while not await reader.fetch("SELECT 1 FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - the database's locks
                    await asyncio.sleep(0.01)
        page = await sending
    assert page.status_code == 422
    assert "was given for another host" in error_of(page, "settings-password")
    (account,) = await list_stored(database, tenant)
    assert account.settings == moved
    assert await secrets_of(database, tenant, account.id) == {"password": MOVED_SECRET}


@pytest.mark.parametrize("wrong", [{"settings-host": "http://wrong"}, {"name": " "}])
async def test_secret_that_was_typed_beside_a_mistake_is_said_to_be_lost(
    owner: Browser, database: Database, tenant: SeededTenant, wrong: dict[str, str]
) -> None:
    await add_account(owner)
    (account,) = await list_stored(database, tenant)
    for path in (NEW_SMTP, page_of(account.id)):
        typed = await add_account(owner, path, **wrong)
        assert typed.status_code == 422
        assert error_of(typed, "settings-password") == NOT_KEPT
        assert KEEP not in typed.text
        blank = await add_account(owner, path, **{**wrong, "settings-password": " "})
        assert blank.status_code == 422
        assert NOT_KEPT not in blank.text
    assert KEEP in blank.text
    assert await secrets_of(database, tenant, account.id) == {"password": SECRET}


async def test_mistake_that_is_no_fields_stands_beside_the_secret_that_is_lost(
    owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallypost_domain.routing.accounts.MAX_ACCOUNTS", 0)
    page = await add_account(owner)
    assert page.status_code == 409
    assert "delete one that nobody uses" in words(main(page))
    assert error_of(page, "settings-password") == NOT_KEPT


async def test_secret_that_is_wrong_itself_is_not_said_to_be_kept_where_it_is_empty(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    (account,) = await list_stored(database, tenant)
    page = await add_account(owner, page_of(account.id), **{"settings-password": "x" * 1025})
    assert "at most 1024 characters" in error_of(page, "settings-password")
    assert KEEP not in page.text


async def test_login_is_taken_away_as_the_form_says(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    (account,) = await list_stored(database, tenant)
    path = page_of(account.id)
    assert "Empty the user name to remove both." in words((await owner.get(path)).text)
    without = {**VALID, "settings-username": "", "settings-password": ""}
    assert (await owner.submit_with_token(PATH, path, **without)).status_code == 303
    assert await secrets_of(database, tenant, account.id) == {}
    assert "remove both" not in (await owner.get(path)).text


@pytest.mark.parametrize("rate_per_s", [12345.67, 1 / 3, 1e-7, 5.0, 99999.99999])
async def test_form_that_is_saved_as_it_is_changes_no_number(
    owner: Browser, database: Database, tenant: SeededTenant, rate_per_s: float
) -> None:
    settings = {**SES_SETTINGS, "rate_per_s": rate_per_s}
    account_id = await create(database, tenant, replace(SES, settings=settings))
    (before,) = await list_stored(database, tenant)
    shown = await fields_of(owner, account_id)
    assert float(shown["settings-rate_per_s"]) == rate_per_s
    answer = await owner.submit_with_token(PATH, page_of(account_id), **shown)
    assert answer.status_code == 303
    (after,) = await list_stored(database, tenant)
    assert (after.settings, after.changed_at) == (settings, before.changed_at)
    changed = {**shown, "settings-rate_per_s": "2.5"}
    assert (await owner.submit_with_token(PATH, page_of(account_id), **changed)).status_code == 303
    assert (await list_stored(database, tenant))[0].settings["rate_per_s"] == 2.5


async def test_lost_key_is_told_as_such_and_nobody_is_asked_for_secrets(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    (account,) = await list_stored(database, tenant)
    async with database.session("tp_cli", tenant.id) as session:
        connection = await session.connection()
        await connection.exec_driver_sql("UPDATE tenant_data_keys SET ring_key_name = 'lost'")
    renamed = {**VALID, "name": "Renamed", "settings-password": ""}
    for answer in (
        await owner.submit_with_token(PATH, page_of(account.id), **renamed),
        await add_account(owner, name="Another"),
    ):
        assert answer.status_code == 503
        assert "an operator has to mend that" in words(main(answer))
        assert "aria-invalid" not in answer.text
    # What needs no key goes on.
    switched = await owner.submit_with_token(PATH, f"{page_of(account.id)}/switch", is_on="off")
    assert switched.status_code == 303
    (account,) = await list_stored(database, tenant)
    assert (account.name, account.is_on) == ("Own relay", False)


def error_of(page: httpx.Response, name: str) -> str:
    """What is said to be wrong with a field."""
    assert 'aria-invalid="true"' in input_of(page, name)
    found = re.search(rf'id="{name}-error">([^<]*)<', page.text)
    assert found is not None, f"nothing is wrong with {name}"
    return html.unescape(found[1])


async def fields_of(browser: Browser, account_id: UUID) -> dict[str, str]:
    """What the form on the page of an account at SES sends as it stands."""
    page = await browser.get(page_of(account_id))
    shown = dict(re.findall(r'<input id="[^"]*" name="([^"]*)"[^>]* value="([^"]*)"', page.text))
    return {name: value for name, value in shown.items() if name[:8] in ("name", "settings")}
