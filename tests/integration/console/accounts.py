"""Provider accounts behind the console's pages, and what workers put down about them."""

import re
import secrets
from collections.abc import Sequence
from uuid import UUID

import httpx

from tallypost_core.ids import new_id
from tallypost_domain.domains import service as domains
from tallypost_domain.routing import accounts, checks
from tallypost_domain.routing.checks import AccountCheck
from tallypost_domain.routing.routes import replace_routes
from tallypost_domain.routing.standings import NewStanding
from tallypost_domain.routing.troubles import OwnAccount, TroubleState, write_troubles
from tallypost_domain.routing.types import AccountStep, AccountView, NewRoute
from tests.integration.console.running import Browser
from tests.integration.routing import samples
from tests.integration.routing.samples import ACTOR
from tests.support.database import KEY_RING, Database, SeededTenant

PATH = "/providers"
NEW_SMTP = "/providers/new/smtp"
SECRET = "a-password-that-nobody-sees"
VALID = {
    "name": "Own relay",
    "settings-host": "smtp.example.net",
    "settings-port": "465",
    "settings-security": "tls",
    "settings-username": "sample",
    "settings-password": SECRET,
    "settings-connections": "3",
}
SES_SETTINGS = {"region": "eu-west-1", "access_key_id": "AKIASAMPLESAMPLE", "connections": 5}
SES_SECRETS = {"secret_access_key": "a-sample-of-a-secret-access-key"}
FAILED = (
    AccountStep("look up", "good", "192.0.2.25"),
    AccountStep("connect", "failed", "421 4.3.2 come back another day"),
    AccountStep("log in", "not_tried", ""),
)
GOOD = (AccountStep("look up", "good", ""), AccountStep("connect", "good", "220 ready"))


async def write_check(
    database: Database, tenant: SeededTenant, account_id: UUID, steps: Sequence[AccountStep]
) -> None:
    """Put down what a check found, as a worker does."""
    check = AccountCheck(tenant.id, account_id)
    async with database.pool("tp_worker") as pool:
        changed_at = await checks.claim(pool, check)
        assert changed_at is not None, "nobody has asked for a check"
        await checks.record_check(pool, check, steps, changed_at)


async def write_standing(
    database: Database,
    tenant: SeededTenant,
    domain_id: UUID,
    account: str,
    standing: NewStanding,
) -> None:
    """Put down what a provider said about a domain, as a worker does."""
    await samples.note_standing(database, tenant, account, standing, domain_id=domain_id)


async def start_worker(database: Database) -> UUID:
    """Have a worker sign on; returns its id."""
    worker_id = new_id()
    async with database.connect("tp_deliver") as connection:
        await connection.execute("INSERT INTO workers (id) VALUES ($1)", worker_id)
    return worker_id


async def write_trouble(
    database: Database,
    tenant: SeededTenant,
    account_id: UUID,
    worker_id: UUID,
    state: TroubleState | None,
    wait_s: float | None = None,
) -> None:
    """Put down why a worker asks an account nothing; without a state, that it does ask it."""
    account = OwnAccount(tenant.id, account_id)
    troubles = {} if state is None else {account: (state, wait_s)}
    async with database.pool("tp_worker") as pool:
        await write_troubles(pool, worker_id, troubles, [] if state else [account])


async def add_domain(
    database: Database, tenant: SeededTenant, name: str, *, is_verified: bool = True
) -> UUID:
    """One more domain of a tenant."""
    async with database.session("tp_cli", tenant.id) as session:
        domain_id = await domains.add_domain(session, tenant.id, name)
        if is_verified:
            await domains.mark_verified(session, tenant.id, domain_id)
    return domain_id


async def add_account(browser: Browser, path: str = NEW_SMTP, **fields: str) -> httpx.Response:
    """Fill in the form of a new account and send it."""
    form_id = secrets.token_hex(8)
    given = {**VALID, "form_id": form_id, **fields}
    return await browser.submit_with_token(PATH, path, **given)


async def list_stored(database: Database, tenant: SeededTenant) -> tuple[AccountView, ...]:
    """All accounts of a tenant, as they are now."""
    async with database.session("tp_console", tenant.id) as session:
        return await accounts.list_accounts(session, tenant.id)


async def secrets_of(database: Database, tenant: SeededTenant, account_id: UUID) -> dict[str, str]:
    """What is secret in an account, in the clear."""
    async with database.session("tp_console", tenant.id) as session:
        opened = await accounts.open_account(session, tenant.id, account_id, KEY_RING)
    return {**opened.secrets}


async def name_in_route(
    database: Database, tenant: SeededTenant, *account_ids: UUID, times: int = 1
) -> None:
    """Have routes of all mail lead to these accounts, and then to the platform."""
    route = NewRoute(accounts=(*map(str, account_ids), "platform"))
    async with database.session("tp_console", tenant.id) as session:
        await replace_routes(session, tenant.id, [route] * times, actor=ACTOR)


def page_of(account_id: UUID) -> str:
    """Where the page of an account is."""
    return f"{PATH}/{account_id}"


def input_of(page: httpx.Response, name: str) -> str:
    """The tag of a field."""
    found = re.search(rf'<(?:input|select) id="{name}"[^>]*>', page.text)
    assert found is not None, f"no field {name}"
    return found[0]
