"""Domains at SES: made with the domain's own key, kept up to date, and never taken from others."""

import base64
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec.structs import replace

from tallypost_providers.dkim import dns_record
from tallypost_providers.errors import DomainNotChecked, ProviderBusy
from tallypost_providers.provider_domains import ProviderDomain, WantedRecord
from tallypost_providers.ses_domains import OWNER_TAG
from tallypost_providers.types import DKIMKey
from tallypost_simulators.ses_account import Identity
from tests.support.ses import SES, running_ses
from tests.unit.providers.emails import SENDING_DOMAIN, keypair, make_dkim_key

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

BOTH = ProviderDomain(
    name=SENDING_DOMAIN,
    dkim_keys=(make_dkim_key("ed25519-sha256"), make_dkim_key("rsa-sha256")),
)


def identity_of(ses: SES) -> Identity:
    return ses.simulator.account.identities[SENDING_DOMAIN]


def rsa_key(bits: int) -> DKIMKey:
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=bits).private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return replace(make_dkim_key("rsa-sha256"), private_key=private_key)


@pytest.fixture
async def ses() -> AsyncIterator[SES]:
    """SES with an account that has no identity."""
    async with running_ses() as both:
        both.simulator.account.identities.clear()
        yield both


async def test_new_domain_is_made_with_its_own_key_and_asks_for_its_record(ses: SES) -> None:
    standing = await ses.provider.ensure_domain(BOTH)
    assert not standing.is_verified
    assert standing.records == (
        WantedRecord(
            type="TXT",
            name=f"tp-rsa._domainkey.{SENDING_DOMAIN}",
            value=dns_record("rsa-sha256", keypair("rsa-sha256").public_key),
            is_found=False,
        ),
    )
    identity = identity_of(ses)
    assert (identity.origin, identity.tokens) == ("EXTERNAL", ["tp-rsa"])
    assert identity.tags == [OWNER_TAG]
    assert identity.private_key is not None
    assert base64.b64decode(identity.private_key) == keypair("rsa-sha256").private_key


async def test_domain_may_be_sent_from_once_ses_has_seen_the_record(ses: SES) -> None:
    await ses.provider.ensure_domain(BOTH)
    ses.simulator.account.verify(SENDING_DOMAIN)
    standing = await ses.provider.ensure_domain(BOTH)
    assert standing.is_verified
    assert [record.is_found for record in standing.records] == [True]


async def test_asking_again_changes_nothing(ses: SES) -> None:
    first = await ses.provider.ensure_domain(BOTH)
    ses.simulator.account.denied |= {
        "CreateEmailIdentity",
        "PutEmailIdentityDkimSigningAttributes",
    }
    again = await ses.provider.ensure_domain(BOTH)
    assert again.records == first.records


async def test_key_that_was_replaced_is_replaced_at_ses_and_has_to_be_seen_first(ses: SES) -> None:
    await ses.provider.ensure_domain(BOTH)
    ses.simulator.account.verify(SENDING_DOMAIN)
    newer = replace(make_dkim_key("rsa-sha256"), selector="tp-newer")
    standing = await ses.provider.ensure_domain(replace(BOTH, dkim_keys=(newer,)))
    assert identity_of(ses).tokens == ["tp-newer"]
    assert identity_of(ses).is_verified
    assert not standing.is_verified
    assert standing.records[0].name.startswith("tp-newer.")
    ses.simulator.account.verify(SENDING_DOMAIN)
    assert (await ses.provider.ensure_domain(replace(BOTH, dkim_keys=(newer,)))).is_verified


async def test_identity_that_somebody_else_made_is_reported_and_left_alone(ses: SES) -> None:
    ses.simulator.account.identities[SENDING_DOMAIN] = Identity(
        name=SENDING_DOMAIN, is_verified=True, is_signed=True, tokens=["one", "two", "three"]
    )
    standing = await ses.provider.ensure_domain(BOTH)
    assert standing.is_verified
    assert "did not make" in standing.detail
    assert standing.records[0] == WantedRecord(
        type="CNAME",
        name=f"one._domainkey.{SENDING_DOMAIN}",
        value="one.dkim.amazonses.com",
        is_found=True,
    )
    assert identity_of(ses).origin == "AWS_SES"
    assert identity_of(ses).tags == []


@pytest.mark.parametrize("bits", [1024, 2048])
async def test_rsa_keys_of_both_sizes_are_taken(ses: SES, bits: int) -> None:
    await ses.provider.ensure_domain(replace(BOTH, dkim_keys=(rsa_key(bits),)))
    assert identity_of(ses).origin == "EXTERNAL"


@pytest.mark.parametrize(
    "keys",
    [
        (),
        (make_dkim_key("ed25519-sha256"),),
        (replace(make_dkim_key("rsa-sha256"), selector="under_score"),),
        (replace(make_dkim_key("rsa-sha256"), private_key=b"no key"),),
        (rsa_key(3072),),
    ],
)
async def test_domain_without_a_key_that_ses_takes_is_not_made(
    ses: SES, keys: tuple[DKIMKey, ...]
) -> None:
    standing = await ses.provider.ensure_domain(replace(BOTH, dkim_keys=keys))
    assert not standing.is_verified
    assert "RSA" in standing.detail
    assert ses.simulator.account.identities == {}


@pytest.mark.parametrize(
    "operation",
    ["GetEmailIdentity", "CreateEmailIdentity"],
)
async def test_refusal_of_ses_is_no_statement_about_the_domain(ses: SES, operation: str) -> None:
    ses.simulator.account.denied.add(operation)
    with pytest.raises(DomainNotChecked, match="AccessDeniedException") as caught:
        await ses.provider.ensure_domain(BOTH)
    assert SENDING_DOMAIN not in str(caught.value)


async def test_server_that_is_away_is_no_statement_about_the_domain(ses: SES) -> None:
    await ses.simulator.stop()
    with pytest.raises(DomainNotChecked, match="unreachable"):
        await ses.provider.ensure_domain(BOTH)
    await ses.simulator.start()


async def test_closed_provider_asks_about_no_domain(ses: SES) -> None:
    await ses.provider.close()
    with pytest.raises(ProviderBusy):
        await ses.provider.ensure_domain(BOTH)


async def test_domain_of_a_second_tenant_gets_its_own_key(ses: SES) -> None:
    await ses.provider.ensure_domain(BOTH)
    other = replace(make_dkim_key("rsa-sha256"), domain="other.example", selector="tp-other")
    await ses.provider.ensure_domain(ProviderDomain(name="other.example", dkim_keys=(other,)))
    assert identity_of(ses).tokens == ["tp-rsa"]
    assert ses.simulator.account.identities["other.example"].tokens == ["tp-other"]
