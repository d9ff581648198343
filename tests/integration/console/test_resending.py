"""Resending from the page of an email: once for each press, and by whoever may send."""

from pathlib import Path
from uuid import UUID

import httpx

from tallypost_domain.people.permissions import Role
from tests.integration.console.mail import accept
from tests.integration.console.reading import hidden_fields, listed, section
from tests.integration.console.running import Browser, form_token
from tests.integration.people.samples import PASSWORD, add_member
from tests.support.database import Database, SeededTenant
from tests.support.emails import sandbox_sender

MARKETER = "marketer@example.com"


async def press(browser: Browser, email_id: UUID) -> httpx.Response:
    """Open the page and press its button."""
    page = await browser.get(f"/emails/{email_id}")
    path = f"/emails/{email_id}/resend"
    return await browser.submit(path, **hidden_fields(page, path))


async def test_resending_leads_to_a_new_email_like_the_first(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(
        database,
        tmp_path,
        tenant,
        "Your order",
        to=["ada@r.test"],
        tags=[{"name": "campaign", "value": "welcome"}],
    )
    answer = await press(owner, email_id)
    assert answer.status_code == 303
    page = await owner.get(answer.headers["location"])
    assert page.status_code == 200
    assert str(email_id) not in section(page, "fields")
    for said in ("hello@example.com", "ada@r.test", "campaign: welcome"):
        assert said in section(page, "fields")
    assert listed(await owner.get("/emails"))[1:] == [email_id]


async def test_form_that_is_sent_twice_sends_once(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Your order")
    path = f"/emails/{email_id}/resend"
    fields = hidden_fields(await owner.get(f"/emails/{email_id}"), path)
    answers = [await owner.submit(path, **fields) for _ in range(2)]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert len(listed(await owner.get("/emails"))) == 2


async def test_pressing_the_button_of_a_page_that_was_opened_anew_sends_again(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Your order")
    answers = [await press(owner, email_id) for _ in range(2)]
    assert answers[0].headers["location"] != answers[1].headers["location"]


async def test_new_email_has_the_mode_of_the_first(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "A test", sender_of=sandbox_sender)
    await press(owner, email_id)
    assert len(listed(await owner.get("/emails?mode=test"))) == 2
    assert listed(await owner.get("/emails")) == []


async def test_whoever_may_send_and_not_change_may_resend(
    browser: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    async with database.sessions("tp_cli") as cli:
        await add_member(cli, tenant.id, MARKETER, Role.MARKETER)
    (email_id,) = await accept(database, tmp_path, tenant, "Your order")
    await browser.sign_in(MARKETER, PASSWORD)
    assert (await press(browser, email_id)).status_code == 303


async def test_viewer_has_neither_the_button_nor_the_right(
    viewer: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Your order")
    page = await viewer.get(f"/emails/{email_id}")
    assert page.status_code == 200
    assert "/resend" not in page.text
    answer = await viewer.submit(
        f"/emails/{email_id}/resend", form_token=form_token(page), key="of no form"
    )
    assert answer.status_code == 403
    assert listed(await viewer.get("/emails")) == [email_id]


async def test_form_without_its_key_sends_nothing(
    owner: Browser, database: Database, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, tenant, "Your order")
    answer = await owner.submit_with_token(f"/emails/{email_id}", f"/emails/{email_id}/resend")
    assert answer.status_code == 422
    assert listed(await owner.get("/emails")) == [email_id]


async def test_email_of_another_tenant_cannot_be_resent(
    owner: Browser,
    other_owner: Browser,
    database: Database,
    other_tenant: SeededTenant,
    tmp_path: Path,
) -> None:
    (theirs,) = await accept(database, tmp_path, other_tenant, "Not yours")
    answer = await owner.submit_with_token("/emails", f"/emails/{theirs}/resend", key="of a form")
    assert answer.status_code == 404
    assert listed(await owner.get("/emails")) == []
    assert listed(await other_owner.get("/emails")) == [theirs]
