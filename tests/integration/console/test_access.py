"""Who sees which page."""

import re
from pathlib import Path

import pytest

from tallypost_core.ids import new_id
from tallypost_domain.audit import service as audit
from tests.integration.console.conftest import BILLING, NOBODY
from tests.integration.console.mail import accept
from tests.integration.console.running import Browser, form_token
from tests.integration.people.samples import PASSWORD
from tests.support.database import Database, SeededTenant

TENANT_PAGES = (
    "/emails",
    "/emails/live",
    "/emails/x",
    "/emails/x/live",
    "/emails/x/message.eml",
    "/emails/x/attachments/0",
    "/inbox",
    "/inbox/x",
    "/inbox/x/message.eml",
    "/home/live",
    "/queue",
    "/queue/live",
    "/queue/dead-letters",
    "/api-keys",
    "/providers",
    "/providers/new",
    "/providers/new/smtp",
    "/providers/x",
    "/providers/x/live",
    "/routes",
    "/routes/new",
    "/routes/x",
)
PLATFORM_PAGES = ("/overview", "/overview/live", "/tenants", "/gallery", "/demo", "/demo/live")


@pytest.mark.parametrize("path", ["/", *TENANT_PAGES, *PLATFORM_PAGES])
async def test_nobody_sees_a_page_without_signing_in(browser: Browser, path: str) -> None:
    answer = await browser.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")


@pytest.mark.parametrize("path", ["/", *TENANT_PAGES])
async def test_role_without_the_permission_is_told_so_with_one_way_on(
    browser: Browser, path: str
) -> None:
    await browser.sign_in(BILLING, PASSWORD)
    answer = await browser.get(path)
    assert answer.status_code == 403
    main = answer.text.split("<main")[1]
    assert "Your role does not allow this" in main
    assert len(re.findall(r"<button|<a ", main)) == 1
    assert "Sign in as somebody else" in main


async def test_member_of_no_tenant_is_told_so(browser: Browser) -> None:
    await browser.sign_in(NOBODY, PASSWORD)
    answer = await browser.get("/emails")
    assert answer.status_code == 403


async def test_operator_without_a_tenant_chooses_one_first(operator: Browser) -> None:
    for path in TENANT_PAGES:
        answer = await operator.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/tenants")


async def test_operator_without_a_tenant_begins_with_the_overview(operator: Browser) -> None:
    answer = await operator.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/overview")
    assert (await operator.get("/overview")).status_code == 200


@pytest.mark.parametrize("path", PLATFORM_PAGES)
async def test_pages_about_the_platform_are_for_operators(owner: Browser, path: str) -> None:
    assert (await owner.get(path)).status_code == 403


async def test_demo_is_not_there_where_none_runs(operator: Browser) -> None:
    assert (await operator.get("/demo")).status_code == 404
    assert ">Demo<" not in (await operator.get("/overview")).text


async def test_operator_opens_a_tenant_and_the_tenant_can_tell(
    operator: Browser, database: Database, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await accept(database, tmp_path, other_tenant, "Seen by the operator")
    start = await operator.get("/tenants")
    assert "First sample tenant" in start.text
    assert "Second sample tenant" in start.text
    answer = await operator.submit_with_token("/tenants", f"/tenants/{other_tenant.id}/open")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "Seen by the operator" in (await operator.get("/emails")).text
    assert (await operator.get(f"/emails/{email_id}")).status_code == 200
    async with database.session("tp_console", other_tenant.id) as session:
        assert (await audit.verify(session, other_tenant.id)).entries == 1
    async with database.connect("tp_console") as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('app.tenant_id', $1, true)", str(other_tenant.id)
        )
        entry = await connection.fetchrow("SELECT * FROM audit_log")
    assert entry["action"] == "tenant.opened"
    assert (entry["actor_kind"], entry["subject_id"]) == ("person", other_tenant.id)
    assert entry["ip_address"] == "127.0.0.1"
    assert entry["user_agent"].startswith("python-httpx/")


async def test_unknown_tenant_cannot_be_opened(operator: Browser) -> None:
    for unknown in (new_id(), "no-id"):
        answer = await operator.submit_with_token("/tenants", f"/tenants/{unknown}/open")
        assert answer.status_code == 404


async def test_member_opens_no_other_tenant(owner: Browser, other_tenant: SeededTenant) -> None:
    token = form_token(await owner.get("/emails"))
    answer = await owner.submit(f"/tenants/{other_tenant.id}/open", form_token=token)
    assert answer.status_code == 403
    assert "First sample tenant" in (await owner.get("/emails")).text


async def test_member_does_not_see_the_list_of_tenants(owner: Browser) -> None:
    page = (await owner.get("/emails")).text
    assert "Second sample tenant" not in page
    assert ">Tenants<" not in page


async def test_page_of_a_tenant_that_is_no_longer_open_changes_and_shows_nothing(
    operator: Browser, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await operator.submit_with_token("/tenants", f"/tenants/{tenant.id}/open")
    page = await operator.get("/api-keys")
    await operator.submit_with_token("/tenants", f"/tenants/{other_tenant.id}/open")
    fields = {
        "form_token": form_token(page),
        "tenant": str(tenant.id),
        "form_id": "any",
        "name": "For the first one",
        "mode": "live",
        "permission": "full_access",
        "stream": "",
    }
    answer = await operator.submit("/api-keys", **fields)
    assert answer.status_code == 409
    assert "Another tenant was opened" in answer.text
    assert "For the first one" not in (await operator.get("/api-keys")).text
    followed = await operator.get(f"/emails/live?tenant={tenant.id}")
    assert followed.status_code == 409
    # Whoever wants to leave may, whatever is open.
    fields["theme"] = "dark"
    assert (await operator.submit("/theme", **fields)).status_code == 303
