"""A tenant's own provider accounts: added, listed, and shown to those who may see them."""

import html
import re
import secrets

import pytest
from msgspec.structs import replace

from tallypost_core.ids import new_id
from tallypost_domain.people.permissions import Role
from tallypost_domain.routing import accounts
from tallypost_domain.routing.accounts import NewAccount
from tallypost_domain.routing.standings import NewStanding
from tests.integration.console.accounts import (
    FAILED,
    NEW_SMTP,
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
from tests.integration.console.reading import links, main, section, words
from tests.integration.console.running import Browser, open_browser
from tests.integration.people.samples import PASSWORD, add_member
from tests.integration.routing.samples import ACCOUNT, break_secrets, create
from tests.support.database import TEST_READER, Database, SeededTenant

SES = NewAccount(name="SES", provider="ses", settings=SES_SETTINGS, secrets=SES_SECRETS)


async def test_account_that_was_added_has_a_page_of_its_own(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    answer = await add_account(owner)
    (account,) = await list_stored(database, tenant)
    assert (answer.status_code, answer.headers["location"]) == (303, page_of(account.id))
    assert account.settings == {
        "host": "smtp.example.net",
        "port": 465,
        "security": "tls",
        "username": "sample",
        "connections": 3,
    }
    assert await secrets_of(database, tenant, account.id) == {"password": SECRET}
    page = await owner.get(page_of(account.id))
    assert "<h1>Own relay</h1>" in page.text
    assert "Host smtp.example.net Port 465" in section(page, "settings")
    assert "Password Set" in section(page, "settings")
    assert "Being checked" in section(page, "check")


@pytest.mark.parametrize(
    ("provider", "given", "settings"),
    [
        (
            "ses",
            {
                "settings-region": "eu-west-1",
                "settings-access_key_id": "AKIASAMPLESAMPLE",
                "settings-secret_access_key": SECRET,
                "settings-rate_per_s": "",
                "settings-connections": "5",
            },
            SES_SETTINGS,
        ),
        (
            "sendgrid",
            {
                "settings-api_key": SECRET,
                "settings-region": "eu",
                "settings-activity_lookup": "on",
                "settings-connections": "5",
            },
            {"region": "eu", "activity_lookup": True, "connections": 5},
        ),
    ],
)
async def test_each_provider_has_its_own_form(
    owner: Browser,
    database: Database,
    tenant: SeededTenant,
    provider: str,
    given: dict[str, str],
    settings: dict[str, object],
) -> None:
    path = f"/providers/new/{provider}"
    shown = (await owner.get(path)).text
    # A box that is not ticked is not sent, and so is none of the fields.
    assert all(f'name="{name}"' in shown for name in given)
    form = {"name": "Ours", "form_id": secrets.token_hex(8), **given}
    assert (await owner.submit_with_token(PATH, path, **form)).status_code == 303
    (account,) = await list_stored(database, tenant)
    assert (account.provider, account.settings) == (provider, settings)


async def test_only_providers_that_tenants_may_have_are_offered(owner: Browser) -> None:
    offered = [
        href for href in links(await owner.get("/providers/new")).values() if "/new/" in href
    ]
    assert offered == [f"/providers/new/{name}" for name in ("smtp", "ses", "sendgrid")]
    assert (await owner.get("/providers/new/inbox")).status_code == 404
    assert (await add_account(owner, "/providers/new/inbox")).status_code == 404


async def test_fields_that_are_secret_are_never_filled_in_and_browsers_leave_them_alone(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    (account,) = await list_stored(database, tenant)
    for path in (NEW_SMTP, page_of(account.id)):
        field = input_of(await owner.get(path), "settings-password")
        assert 'type="password" value=""' in field
        assert 'autocomplete="new-password"' in field
    assert "It is set; leave this empty to keep it." in (await owner.get(page_of(account.id))).text


async def test_secret_stands_on_no_page_and_in_no_log(
    owner: Browser,
    database: Database,
    tenant: SeededTenant,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("DEBUG")
    refused = await add_account(owner, **{"settings-host": "http://wrong"})
    added = await add_account(owner)
    (account,) = await list_stored(database, tenant)
    kept = {**VALID, "settings-host": "", "settings-password": f"{SECRET}-2"}
    path = page_of(account.id)
    answers = [
        refused,
        added,
        await owner.submit_with_token(PATH, path, **kept),
        # Shown again for another reason: the name is taken.
        await add_account(owner),
        await owner.get(PATH),
        await owner.get(path),
    ]
    assert [answer.status_code for answer in answers] == [422, 303, 422, 409, 200, 200]
    async with follow(owner, f"{path}/live") as following:
        shown = await following.next()
        assert shown is not None
        assert "Being checked" in shown.data
        assert SECRET not in shown.data
    await break_secrets(database, tenant)
    for given in (kept, {**VALID, "settings-host": "other.example.net", "settings-password": ""}):
        answers.append(await owner.submit_with_token(PATH, path, **given))
        assert answers[-1].status_code == 422
    assert all(SECRET not in answer.text for answer in answers)
    assert all(SECRET not in str(answer.headers) for answer in answers)
    assert SECRET not in caplog.text
    written = capsys.readouterr()
    assert SECRET not in written.out + written.err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("settings-host", "", "The “Host” field is missing."),
        ("settings-host", "http://smtp.example.net", "must be a host name"),
        ("settings-host", "10.0.0.1", "must be an address on the public internet"),
        ("settings-port", "22", "must be one of 25, 465"),
        ("settings-connections", "11", "must be a whole number of at least 1 and at most 10"),
        ("settings-password", "", "The “Password” field is missing"),
        ("name", "  ", "must have 1 to 100 characters"),
    ],
)
async def test_what_is_wrong_is_said_at_its_field_and_all_input_stays_but_secrets(
    owner: Browser, database: Database, tenant: SeededTenant, name: str, value: str, said: str
) -> None:
    page = await add_account(owner, **{name: value})
    assert page.status_code == 422
    assert f'aria-invalid="true" aria-describedby="{name}-error"' in input_of(page, name)
    error = re.search(rf'id="{name}-error">([^<]*)<', page.text)
    assert error is not None
    assert said in html.unescape(error[1])
    # What is secret is not kept, and is said to be wanted again.
    is_typed = name != "settings-password"
    assert page.text.count("aria-invalid") == 1 + is_typed
    for other in ("name", "settings-host", "settings-username", "settings-connections"):
        given = value if other == name else VALID[other]
        assert f'value="{given}"' in input_of(page, other)
    assert '<option value="tls" selected>' in page.text
    assert 'value=""' in input_of(page, "settings-password")
    assert await list_stored(database, tenant) == ()


async def test_name_that_is_taken_is_said_at_its_field(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    page = await add_account(owner)
    assert page.status_code == 409
    assert "There is a provider account of this name already." in page.text
    assert 'aria-invalid="true"' in input_of(page, "name")
    assert len(await list_stored(database, tenant)) == 1


async def test_too_many_accounts_are_refused_and_the_input_stays(
    owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MAX_ACCOUNTS", 0)
    page = await add_account(owner)
    assert page.status_code == 409
    assert "delete one that nobody uses" in words(main(page))
    assert f'value="{VALID["settings-host"]}"' in input_of(page, "settings-host")


async def test_form_that_was_sent_twice_adds_one_account(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    assert (await add_account(owner, form_id="the same")).status_code == 303
    again = await add_account(owner, form_id="the same", name="Another")
    assert again.status_code == 409
    assert "This form was sent before" in words(main(again))
    assert [account.name for account in await list_stored(database, tenant)] == ["Own relay"]


async def test_list_sums_up_each_account(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    relay = await create(database, tenant)
    ses = await create(database, tenant, SES)
    await add_domain(database, tenant, "news.example.com")
    await write_check(database, tenant, relay, FAILED)
    await write_standing(
        database, tenant, tenant.domain_id, str(ses), NewStanding(status="verified")
    )
    await name_in_route(database, tenant, relay, times=2)
    said = words(main(await owner.get(PATH)))
    assert "Does not work Own relay SMTP relay – Routes 1 and 2 On" in said
    assert "Being checked SES Amazon SES Domains: 1 of 2 verified No route On" in said


async def test_list_without_an_account_says_what_one_is_for(owner: Browser) -> None:
    page = await owner.get(PATH)
    assert "your mail goes by the platform" in words(main(page))
    assert links(page)["Add account"] == "/providers/new"


async def test_each_act_is_in_the_audit_log_with_the_person(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add_account(owner)
    (account,) = await list_stored(database, tenant)
    path = page_of(account.id)
    await owner.submit_with_token(path, f"{path}/switch", is_on="off")
    await owner.submit_with_token(path, f"{path}/delete")
    async with database.session(TEST_READER, tenant.id) as session:
        connection = await session.connection()
        entries = (
            await connection.exec_driver_sql(
                "SELECT action, actor_kind, ip_address::text FROM audit_log ORDER BY sequence"
            )
        ).all()
    assert [entry.action for entry in entries] == [
        "provider_account.created",
        "provider_account.changed",
        "provider_account.deleted",
    ]
    assert {entry.actor_kind for entry in entries} == {"person"}
    assert all(entry.ip_address.startswith("127.0.0.1") for entry in entries)


async def test_account_of_another_tenant_is_not_there(
    owner: Browser, other_owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    path = page_of(await create(database, tenant))
    assert "Own relay" not in (await other_owner.get(PATH)).text
    for unknown in (path, page_of(new_id()), f"{PATH}/no-id"):
        for page in (unknown, f"{unknown}/live"):
            assert (await other_owner.get(page)).status_code == 404
        for act in ("", "/check", "/switch", "/delete"):
            answer = await other_owner.submit_with_token(
                PATH, f"{unknown}{act}", **VALID, is_on="off"
            )
            assert answer.status_code == 404
            assert "Provider account not found" in answer.text
    (account,) = await list_stored(database, tenant)
    assert (account.name, account.is_on) == ("Own relay", True)
    assert (await owner.get(path)).status_code == 200


@pytest.mark.parametrize("role", [Role.ADMIN, Role.DEVELOPER])
async def test_those_who_build_may_add_an_account(
    console_url: str, database: Database, tenant: SeededTenant, role: Role
) -> None:
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, "builder@example.com", role)
    async with open_browser(console_url) as browser:
        await browser.sign_in("builder@example.com", PASSWORD)
        assert (await add_account(browser)).status_code == 303


async def test_viewer_looks_and_changes_nothing(
    owner: Browser, viewer: Browser, database: Database, tenant: SeededTenant
) -> None:
    path = page_of(await create(database, tenant))
    for page in (await viewer.get(PATH), await viewer.get(path)):
        assert page.status_code == 200
        assert "<form" not in main(page)
        assert [label for label in links(page) if label.startswith("Add")] == []
    for page in (await owner.get(PATH), await owner.get(path)):
        assert [label for label in links(page) if label.startswith("Add")] != []
    assert "Check, step by step" in (await viewer.get(path)).text
    for page_for_writers in ("/providers/new", NEW_SMTP):
        assert (await viewer.get(page_for_writers)).status_code == 403
    for act in ("", "/check", "/switch", "/delete"):
        answer = await viewer.submit_with_token(PATH, f"{path}{act}", **VALID, is_on="off")
        assert answer.status_code == 403
    assert (await add_account(viewer, name="Another")).status_code == 403
    (account,) = await list_stored(database, tenant)
    assert (account.name, account.is_on) == ("Own relay", True)


@pytest.mark.parametrize("role", [Role.MARKETER, Role.BILLING])
async def test_who_neither_builds_nor_watches_sees_no_account(
    console_url: str, database: Database, tenant: SeededTenant, role: Role
) -> None:
    path = page_of(await create(database, tenant))
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, "somebody@example.com", role)
    async with open_browser(console_url) as browser:
        await browser.sign_in("somebody@example.com", PASSWORD)
        for page in (PATH, NEW_SMTP, path, f"{path}/live"):
            assert (await browser.get(page)).status_code == 403
        assert ">Providers<" not in (await browser.get("/")).text


async def test_name_is_text_and_never_markup(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = await create(database, tenant, replace(ACCOUNT, name="<b>Relay</b>"))
    await name_in_route(database, tenant, account_id)
    for path in (PATH, page_of(account_id), "/routes"):
        page = await owner.get(path)
        assert "<b>Relay" not in page.text
        assert "&lt;b&gt;Relay&lt;/b&gt;" in page.text
