"""Where a tenant's domains stand at the platform's accounts, under the list of its own."""

import re

from tallypost_domain.routing.accounts import NewAccount
from tallypost_domain.routing.standings import NewStanding
from tallypost_domain.routing.types import DomainRecord
from tests.integration.console.accounts import (
    PATH,
    SES_SECRETS,
    SES_SETTINGS,
    add_domain,
    write_standing,
)
from tests.integration.console.reading import main, section, words
from tests.integration.console.running import Browser
from tests.integration.routing.samples import create, say_platform_has
from tests.support.database import Database, SeededTenant

_HEADING = "Your domains at the platform"
_RECORDS = tuple(
    DomainRecord(
        type="CNAME",
        name=f"{name}.example.com",
        value=f"{name}.u1.sendgrid.example.net",
        is_found=name == "em1",
    )
    for name in ("em1", "s1._domainkey", "s2._domainkey")
)
_MISSING = NewStanding(status="unverified", records=_RECORDS, detail="expected a CNAME, found none")
_VERIFIED = NewStanding(status="verified", records=_RECORDS)


async def test_records_that_the_platform_wants_are_shown_by_domain(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await say_platform_has(database, "sendgrid", "ses", "smtp")
    await write_standing(database, tenant, tenant.domain_id, "sendgrid", _MISSING)
    await write_standing(database, tenant, tenant.domain_id, "ses", _VERIFIED)
    page = await owner.get(PATH)
    said = section(page, "platform")
    assert "example.com Not verified at sendgrid Verified at ses sendgrid expected a CNAME" in said
    assert "Mail from this domain does not go by the platform's sendgrid." in said
    assert re.search(r"Found Name em1\.example\.com ", said)
    assert re.search(r"Missing Name s1\._domainkey\.example\.com .* CNAME", said)
    assert said.count("Missing") == 2
    assert "The platform's sendgrid was asked on" in said
    assert "smtp" not in said
    assert page.text.count("data-copy=") == 2 * len(_RECORDS)


async def test_domain_that_is_verified_everywhere_is_one_line(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await say_platform_has(database, "sendgrid", "ses")
    for account in ("sendgrid", "ses"):
        await write_standing(database, tenant, tenant.domain_id, account, _VERIFIED)
    page = await owner.get(PATH)
    assert section(page, "platform").endswith("example.com Verified at sendgrid, ses")
    assert "data-copy=" not in page.text


async def test_domain_that_wants_something_stands_before_those_that_do_not(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await say_platform_has(database, "ses")
    await add_domain(database, tenant, "alone.example.com")
    await add_domain(database, tenant, "pending.example.com", is_verified=False)
    silent = await add_domain(database, tenant, "silent.example.com")
    await write_standing(database, tenant, tenant.domain_id, "ses", _VERIFIED)
    said_nothing = NewStanding(status="unknown", detail="It did not answer.")
    await write_standing(database, tenant, silent, "ses", said_nothing)
    said = section(await owner.get(PATH), "platform")
    assert "silent.example.com No answer at ses ses It did not answer." in said
    assert said.endswith("alone.example.com Not asked yet at ses example.com Verified at ses")
    assert "pending.example.com" not in said


async def test_platform_of_relays_alone_has_no_such_part(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await say_platform_has(database, "smtp")
    assert _HEADING not in (await owner.get(PATH)).text
    # Of an account that the platform has no more, rows stay.
    await write_standing(database, tenant, tenant.domain_id, "ses", _MISSING)
    assert _HEADING not in (await owner.get(PATH)).text


async def test_standing_at_an_own_account_stays_on_its_page(
    owner: Browser, database: Database, tenant: SeededTenant
) -> None:
    await say_platform_has(database, "ses")
    own = await create(
        database,
        tenant,
        NewAccount(name="SES", provider="ses", settings=SES_SETTINGS, secrets=SES_SECRETS),
    )
    await write_standing(database, tenant, tenant.domain_id, str(own), _MISSING)
    page = await owner.get(PATH)
    assert "Domains: 0 of 1 verified" in words(main(page))
    assert _HEADING not in page.text


async def test_standing_of_another_tenants_domain_is_not_seen(
    owner: Browser, other_owner: Browser, database: Database, other_tenant: SeededTenant
) -> None:
    await say_platform_has(database, "ses")
    await write_standing(database, other_tenant, other_tenant.domain_id, "ses", _MISSING)
    assert _HEADING not in (await owner.get(PATH)).text
    assert "Not verified at ses" in section(await other_owner.get(PATH), "platform")
