"""Routes of a tenant: added, ordered, changed and deleted, and what they come to."""

import html
import re
import secrets
from collections.abc import Sequence

import httpx
import pytest
from msgspec.structs import replace

from tallypost_core.ids import new_id
from tallypost_domain.people.permissions import Role
from tallypost_domain.routing import routes
from tallypost_domain.routing.accounts import AccountChange, NewAccount, change_account
from tallypost_domain.routing.standings import NewStanding
from tallypost_domain.routing.types import NewRoute, RouteView
from tests.integration.console.accounts import (
    SES_SECRETS,
    SES_SETTINGS,
    add_domain,
    write_standing,
)
from tests.integration.console.reading import hidden_fields, links, main, section, words
from tests.integration.console.running import Browser, open_browser
from tests.integration.people.samples import PASSWORD, add_member
from tests.integration.routing.samples import ACCOUNT, ACTOR, create, say_platform_has
from tests.support.database import KEY_RING, TEST_READER, Database, SeededTenant

PATH = "/routes"
NEW = "/routes/new"
ALL = NewRoute(accounts=("platform",))
BULK = replace(ALL, lane="bulk")
EMPTY = {"domain": "", "lane": "", "tag_name": "", "tag_value": "", "share": "100"}


async def add(
    browser: Browser, *accounts: str, path: str = PATH, **fields: str | list[str]
) -> httpx.Response:
    """Fill in the form and send it."""
    given = {**EMPTY, "form_id": secrets.token_hex(8), "account": [*accounts], **fields}
    return await browser.submit_with_token("/providers", path, **given)


async def put(
    database: Database, tenant: SeededTenant, new: Sequence[NewRoute]
) -> tuple[RouteView, ...]:
    async with database.session("tp_console", tenant.id) as session:
        return await routes.replace_routes(session, tenant.id, new, actor=ACTOR)


async def stored(database: Database, tenant: SeededTenant) -> tuple[RouteView, ...]:
    async with database.session("tp_console", tenant.id) as session:
        return await routes.list_routes(session, tenant.id)


async def audited(database: Database, tenant: SeededTenant) -> list[tuple[object, ...]]:
    """What is in the audit log: acts, whose they were, and what changed."""
    async with database.session(TEST_READER, tenant.id) as session:
        connection = await session.connection()
        entries = await connection.exec_driver_sql(
            "SELECT action, actor_kind, changes FROM audit_log ORDER BY sequence"
        )
        return [tuple(entry) for entry in entries]


async def test_route_is_added_and_listed_in_words(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    account_id = str(await create(database, tenant))
    answer = await add(
        owner,
        account_id,
        "",
        "platform",
        "",
        domain=str(tenant.domain_id),
        lane="bulk",
        tag_name=" kind ",
        tag_value="receipt",
        share="25",
    )
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    (route,) = await stored(database, tenant)
    assert route == RouteView(
        id=route.id,
        accounts=(account_id, "platform"),
        domain_id=tenant.domain_id,
        lane="bulk",
        tag_name="kind",
        tag_value="receipt",
        share=0.25,
    )
    said = words(main(await owner.get(PATH)))
    assert "1. Bulk mail from example.com tagged kind=receipt · 25 % of it" in said
    assert "goes to Own relay, then the platform" in said
    assert "Everything else → goes to the platform" in said


async def test_list_without_a_route_says_where_mail_goes(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    page = await owner.get(PATH)
    assert "All your mail goes by the platform." in words(main(page))
    assert "Everything else → goes to the platform" in words(main(page))
    assert links(page)["Add account"] == "/providers/new"
    await create(database, tenant)
    assert links(await owner.get(PATH))["Add route"] == NEW


@pytest.mark.parametrize(
    ("text", "share"), [("25", 0.25), ("0.5", 0.005), ("12,5 %", 0.125), (" 100 ", 1.0)]
)
async def test_share_is_read_as_people_write_it(
    owner: Browser, database: Database, tenant: SeededTenant, text: str, share: float
) -> None:
    assert (await add(owner, "platform", share=text)).status_code == 303
    assert [route.share for route in await stored(database, tenant)] == [share]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("share", "0", "above 0 and up to 100"),
        ("share", "101", "above 0 and up to 100"),
        ("share", "nan", "above 0 and up to 100"),
        ("share", "half", "above 0 and up to 100"),
        ("tag_value", "receipt", "needs the tag"),
    ],
)
async def test_what_is_wrong_is_said_at_its_field_and_all_input_stays(
    owner: Browser, database: Database, tenant: SeededTenant, field: str, value: str, said: str
) -> None:
    given = {"lane": "bulk", "domain": str(tenant.domain_id), "share": "40", field: value}
    page = await add(owner, "platform", **given)
    assert page.status_code == 422
    wrong = "tag_name" if field == "tag_value" else field
    error = re.search(rf'id="{wrong}-error">([^<]*)<', page.text)
    assert error is not None
    assert said in html.unescape(error[1])
    assert page.text.count("aria-invalid") == 1
    for option in ("bulk", str(tenant.domain_id), "platform"):
        assert f'<option value="{option}" selected>' in page.text
    assert f'value="{value}"' in page.text
    assert await stored(database, tenant) == ()


@pytest.mark.parametrize(
    ("accounts", "said"),
    [((), "Choose at least one account."), (("platform",) * 2, "Choose each account once.")],
)
async def test_accounts_that_make_no_sense_are_said_above_them(
    owner: Browser,
    database: Database,
    tenant: SeededTenant,
    accounts: tuple[str, ...],
    said: str,
) -> None:
    page = await add(owner, *accounts, "")
    assert page.status_code == 422
    assert said in page.text.partition('id="accounts-error"')[2].partition("</p>")[0]
    assert await stored(database, tenant) == ()


@pytest.mark.parametrize("wrong", [{"domain": "no-id"}, {"lane": "fast"}])
async def test_choice_that_there_is_not_is_refused(
    owner: Browser, database: Database, tenant: SeededTenant, wrong: dict[str, str]
) -> None:
    page = await add(owner, "platform", **wrong)
    assert page.status_code == 422
    assert "A field of the form is missing" in page.text
    assert await stored(database, tenant) == ()


async def test_form_that_was_sent_twice_adds_one_route(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    assert (await add(owner, "platform", form_id="the same")).status_code == 303
    again = await add(owner, "platform", form_id="the same")
    assert again.status_code == 409
    assert "This form was sent before" in words(main(again))
    assert len(await stored(database, tenant)) == 1


async def test_too_many_routes_are_refused_and_the_input_stays(
    owner: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MAX_ROUTES", 0)
    page = await add(owner, "platform", share="40")
    assert page.status_code == 409
    assert "There may be 100 routes at most." in page.text
    assert 'value="40"' in page.text


async def test_form_offers_what_a_route_may_name(
    owner: Browser, database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await say_platform_has(database, "ses", "smtp")
    account_id = await create(database, tenant)
    await create(database, other_tenant, replace(ACCOUNT, name="Theirs"))
    await add_domain(database, tenant, "pending.example.com", is_verified=False)
    page = await owner.get(NEW)
    select = page.text.partition('id="account-1"')[2].partition("</select>")[0]
    offered = re.findall(r'<option value="([^"]*)"[^>]*>([^<]*)<', select)
    assert [(value, html.unescape(label)) for value, label in offered] == [
        ("", "–"),
        (str(account_id), "Own relay"),
        ("platform", "The platform"),
        ("platform:ses", "The platform's ses"),
        ("platform:smtp", "The platform's smtp"),
    ]
    assert page.text.count('name="account"') == 5
    assert "pending.example.com (not verified)" in page.text
    assert other_tenant.domain not in main(page)


async def test_route_is_changed_and_keeps_its_place(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    first, second, third = await put(database, tenant, [BULK, replace(ALL, share=0.07), ALL])
    path = f"{PATH}/{second.id}"
    form = await owner.get(path)
    assert "<h1>Route 2</h1>" in form.text
    assert re.search(r'id="share"[^>]*value="7"', form.text)
    assert (await add(owner, "platform", path=path, lane="transactional")).status_code == 303
    changed = replace(second, lane="transactional", share=1.0)
    assert await stored(database, tenant) == (first, changed, third)
    wrong = await add(owner, path=path)
    assert wrong.status_code == 422
    assert "<h1>Route 2</h1>" in wrong.text


async def test_route_with_many_accounts_keeps_them_all_when_it_is_changed(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    names = [f"one-{number}" for number in range(7)]
    await say_platform_has(database, *names)
    accounts = tuple(f"platform:{name}" for name in names)
    (route,) = await put(database, tenant, [NewRoute(accounts=accounts)])
    form = await owner.get(f"{PATH}/{route.id}")
    assert form.text.count('name="account"') == len(accounts) + 1
    chosen = re.findall(r'<option value="(platform:[^"]*)" selected>', form.text)
    assert tuple(chosen) == accounts


async def test_routes_are_moved_without_a_script(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    first, second = await put(database, tenant, [BULK, ALL])
    path = f"{PATH}/{second.id}/move"
    fields = hidden_fields(await owner.get(PATH), path)
    assert fields["to"] == "1"
    answer = await owner.submit(path, **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    assert await stored(database, tenant) == (second, first)
    down = await owner.submit_with_token(PATH, path, to="2")
    assert down.status_code == 303
    assert await stored(database, tenant) == (first, second)
    for wrong in ("", "up", "0", "-1", "1.5", "1000"):
        assert (await owner.submit_with_token(PATH, path, to=wrong)).status_code == 422


async def test_button_that_is_pressed_twice_moves_a_route_once(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    first, second, third = await put(database, tenant, [BULK, replace(ALL, share=0.5), ALL])
    path = f"{PATH}/{third.id}/move"
    fields = hidden_fields(await owner.get(PATH), path)
    before = await audited(database, tenant)
    for _ in range(2):
        assert (await owner.submit(path, **fields)).status_code == 303
        assert await stored(database, tenant) == (first, third, second)
    assert len(await audited(database, tenant)) == len(before) + 1


async def test_move_to_where_a_route_is_already_is_nobodys_act(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    first, second = await put(database, tenant, [BULK, ALL])
    before = await audited(database, tenant)
    for route, place in ((first, "1"), (second, "2"), (second, "3")):
        moved = await owner.submit_with_token(PATH, f"{PATH}/{route.id}/move", to=place)
        assert moved.status_code == 303
    assert await stored(database, tenant) == (first, second)
    assert await audited(database, tenant) == before


@pytest.mark.parametrize("share", [1 / 3, 2 / 3, 0.07, 1e-05, 0.123456789, 0.9999999, 1.0])
async def test_form_of_a_route_that_is_saved_as_it_is_changes_no_share(
    owner: Browser, database: Database, tenant: SeededTenant, share: float
) -> None:
    (route,) = await put(database, tenant, [replace(ALL, share=share)])
    form = await owner.get(f"{PATH}/{route.id}")
    found = re.search(r'id="share"[^>]*value="([^"]*)"', form.text)
    assert found is not None
    assert (await add(owner, "platform", path=f"{PATH}/{route.id}", share=found[1])).is_redirect
    assert await stored(database, tenant) == (route,)


async def test_route_is_deleted(owner: Browser, database: Database, tenant: SeededTenant) -> None:
    first, second = await put(database, tenant, [BULK, ALL])
    path = f"{PATH}/{first.id}/delete"
    for status in (303, 404):
        assert (await owner.submit_with_token(PATH, path)).status_code == status
    assert await stored(database, tenant) == (second,)


async def test_route_whose_platform_account_is_gone_is_mended_and_in_nobodys_way(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await say_platform_has(database, "ses")
    gone = NewRoute(accounts=("platform:ses",))
    first, second = await put(database, tenant, [ALL, gone])
    async with database.connect("tp_deliver") as connection:
        await connection.execute("DELETE FROM workers")
    assert "The platform's ses left out: it is not there now" not in words(
        main(await owner.get(PATH))
    )
    moved = await owner.submit_with_token(PATH, f"{PATH}/{second.id}/move", to="1")
    assert moved.status_code == 303
    assert "The platform's ses left out: it is not there now" in words(main(await owner.get(PATH)))
    form = await owner.get(f"{PATH}/{second.id}")
    assert "The platform&#39;s ses (not there now)" in form.text
    kept = await add(owner, "platform:ses", path=f"{PATH}/{second.id}", share="50")
    assert kept.status_code == 422
    assert "One of these accounts is not there any more." in words(main(kept))
    assert (await add(owner, "platform", path=f"{PATH}/{second.id}")).status_code == 303
    assert [route.accounts for route in await stored(database, tenant)] == [("platform",)] * 2
    assert first in await stored(database, tenant)


async def test_route_that_no_mail_reaches_is_marked(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await put(database, tenant, [replace(BULK, share=0.5), ALL, BULK])
    said = words(main(await owner.get(PATH)))
    assert said.count("Never reached") == 1
    assert "Nothing is left for it: a route above takes all mail." in said


async def test_preview_says_who_is_asked_in_which_order_and_who_is_left_out(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await say_platform_has(database, "ses", "smtp")
    relay = await create(database, tenant)
    ses = await create(
        database,
        tenant,
        NewAccount(name="SES", provider="ses", settings=SES_SETTINGS, secrets=SES_SECRETS),
    )
    news = await add_domain(database, tenant, "news.example.com")
    await add_domain(database, tenant, "pending.example.com", is_verified=False)
    unverified = NewStanding(status="unverified")
    await write_standing(database, tenant, news, str(ses), unverified)
    await write_standing(database, tenant, news, "ses", unverified)
    await put(
        database,
        tenant,
        [
            NewRoute(accounts=(str(ses),), domain_id=news, lane="transactional"),
            NewRoute(accounts=(str(relay), "platform:ses"), lane="bulk", share=0.25),
            NewRoute(accounts=(str(relay),), tag_name="kind"),
        ],
    )
    async with database.session("tp_console", tenant.id) as session:
        await change_account(
            session,
            tenant.id,
            relay,
            AccountChange(is_on=False),
            key_ring=KEY_RING,
            actor=ACTOR,
        )
    page = await owner.get(PATH)
    assert "live mail without tags would ask" in words(main(page))
    found = [
        words(part) for part in re.findall(r'<section class="panel".*?</section>', page.text, re.S)
    ]
    assert found == [
        "example.com (transactional) By no route The platform",
        "example.com (bulk) 25 % of it by route 2 Own relay left out: it is switched off "
        "The platform's ses 75 % of it by no route The platform",
        "news.example.com (transactional) By route 1 "
        "SES left out: the domain is not verified there "
        "Waits No account is left to ask. This mail waits until one may be asked.",
        "news.example.com (bulk) 25 % of it by route 2 Own relay left out: it is switched off "
        "The platform's ses left out: the domain is not verified there "
        "Waits No account is left to ask. This mail waits until one may be asked. "
        "75 % of it by no route The platform without ses: the domain is not verified there",
    ]


async def test_preview_puts_domains_together_that_fare_alike(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    for number in range(7):
        await add_domain(database, tenant, f"n{number}.example.com")
    await put(database, tenant, [ALL])
    said = section(await owner.get(PATH), "preview")
    assert said.count("By route 1") == 1
    assert "example.com, n0.example.com" in said
    assert "n3.example.com and 3 more" in said


async def test_each_change_is_in_the_audit_log_with_the_person(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await add(owner, "platform")
    (route,) = await stored(database, tenant)
    await owner.submit_with_token(PATH, f"{PATH}/{route.id}/delete")
    assert await audited(database, tenant) == [
        ("routes.replaced", "person", {"count": 1}),
        ("routes.replaced", "person", {"count": 0}),
    ]


async def test_another_tenants_account_cannot_be_named(
    owner: Browser, database: Database, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    theirs = str(await create(database, other_tenant))
    page = await add(owner, theirs)
    assert page.status_code == 422
    assert "Own relay" not in page.text
    assert await stored(database, tenant) == ()


async def test_route_of_another_tenant_is_not_there(
    owner: Browser, other_owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    (route,) = await put(database, tenant, [BULK])
    assert "Bulk mail" not in main(await other_owner.get(PATH))
    for unknown in (f"{PATH}/{route.id}", f"{PATH}/{new_id()}", f"{PATH}/no-id"):
        assert (await other_owner.get(unknown)).status_code == 404
        for act in ("", "/move", "/delete"):
            answer = await add(other_owner, "platform", path=f"{unknown}{act}", to="1")
            assert answer.status_code == 404
            assert "Route not found" in answer.text
    assert await stored(database, tenant) == (route,)
    assert (await owner.get(f"{PATH}/{route.id}")).status_code == 200


async def test_viewer_looks_and_changes_nothing(
    viewer: Browser, database: Database, tenant: SeededTenant
) -> None:
    (route,) = await put(database, tenant, [BULK])
    page = await viewer.get(PATH)
    assert "Bulk mail" in page.text
    assert "<form" not in main(page)
    for path in (NEW, f"{PATH}/{route.id}"):
        assert (await viewer.get(path)).status_code == 403
    for path in (PATH, *(f"{PATH}/{route.id}{act}" for act in ("", "/move", "/delete"))):
        answer = await add(viewer, "platform", path=path, to="1")
        assert answer.status_code == 403
    assert await stored(database, tenant) == (route,)


@pytest.mark.parametrize("role", [Role.MARKETER, Role.BILLING])
async def test_who_neither_builds_nor_watches_sees_no_route(
    console_url: str, database: Database, tenant: SeededTenant, role: Role
) -> None:
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, "somebody@example.com", role)
    async with open_browser(console_url) as browser:
        await browser.sign_in("somebody@example.com", PASSWORD)
        for path in (PATH, NEW, f"{PATH}/{new_id()}"):
            assert (await browser.get(path)).status_code == 403
