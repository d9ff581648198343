"""What SES gets of an email: message, envelope, tags, and who is left out."""

import asyncio
import email
import email.policy
from typing import Any

import pytest

from tallypost_providers.errors import ProviderBusy
from tallypost_providers.ses import EMAIL_ID_TAG, TENANT_ID_TAG
from tallypost_providers.ses_envelope import MAX_MESSAGE_BYTES
from tallypost_providers.types import Attachment, Outcome, RecipientKind
from tallypost_simulators.http_faults import HTTPFault
from tallypost_simulators.ses_account import ConfigurationSet
from tests.support.ses import answer, running_ses
from tests.support.smtp_peers import wait_until
from tests.unit.providers.emails import SENDING_DOMAIN, make_dkim_key, make_email, make_recipient

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

IN_TIME_S = 10.0


async def test_attachments_inline_images_and_every_script_arrive_as_written() -> None:
    image = Attachment(
        filename="Logo ✓.png", content_type="image/png", body=b"\x89PNG", content_id="logo"
    )
    paper = Attachment(filename="счёт.pdf", content_type="application/pdf", body=bytes(range(256)))
    async with running_ses() as ses:
        result = await ses.provider.send(
            make_email(
                from_header=f"Grüße 東京 <hello@{SENDING_DOMAIN}>",
                to=("Zoë <zoe@bücher.example>",),
                subject="שלום עולם 👋",
                text="Ἀθῆναι\n",
                html='<img src="cid:logo">Ἀθῆναι',
                attachments=(image, paper),
                recipients=(make_recipient("zoe@xn--bcher-kva.example"),),
                dkim_keys=(make_dkim_key("rsa-sha256"),),
            ),
            IN_TIME_S,
        )
        (taken,) = ses.simulator.messages
    assert result.recipients[0].outcome is Outcome.ACCEPTED
    assert taken.recipients == ("zoe@xn--bcher-kva.example",)
    message = email.message_from_bytes(taken.raw, policy=email.policy.default)
    assert message["Subject"] == "שלום עולם 👋"
    assert message["From"] == f"Grüße 東京 <hello@{SENDING_DOMAIN}>"
    assert message["To"].addresses[0].domain == "xn--bcher-kva.example"
    parts = {
        part.get_filename(): part.get_content() for part in message.walk() if part.get_filename()
    }
    assert parts == {"Logo ✓.png": b"\x89PNG", "счёт.pdf": bytes(range(256))}
    html = message.get_body(("html",))
    assert html is not None
    assert html.get_content().strip() == '<img src="cid:logo">Ἀθῆναι'
    assert "DKIM-Signature" not in message


async def test_message_bears_the_ids_that_come_back_with_events() -> None:
    email_ = make_email(tags={"campaign": "spring"})
    async with running_ses(configuration_set="main", tenant_name="acme") as ses:
        account = ses.simulator.account
        account.configuration_sets["main"] = ConfigurationSet(name="main")
        account.add_tenant("acme").resources |= {
            account.arn(f"identity/{SENDING_DOMAIN}"),
            account.arn("configuration-set/main"),
        }
        result = await ses.provider.send(email_, IN_TIME_S)
        (taken,) = ses.simulator.messages
    assert result.provider_message_id == taken.message_id
    assert taken.tags == {
        EMAIL_ID_TAG: str(email_.email_id),
        TENANT_ID_TAG: str(email_.tenant_id),
    }
    assert (taken.configuration_set, taken.tenant_name) == ("main", "acme")


@pytest.mark.parametrize("settings", [{"configuration_set": "gone"}, {"tenant_name": "gone"}])
async def test_set_up_that_ses_does_not_know_is_our_fault_and_not_the_message_s(
    settings: dict[str, Any],
) -> None:
    async with running_ses(**settings) as ses:
        result = await ses.provider.send(make_email(), IN_TIME_S)
    (entry,) = result.recipients
    assert (entry.outcome, result.concerns) == (Outcome.SUSPENDED, "account")
    # The names of the platform's own things are no tenant's affair.
    assert entry.detail == "SES refuses this account: NotFoundException."


async def test_recipients_that_ses_cannot_reach_are_refused_by_themselves() -> None:
    addresses = (
        "ada@example.net",
        "δοκιμή@example.net",
        "no-domain",
        "under@sub_domain.example",
        f"{'x' * 65}@example.net",
        "bob@example.net",
        "eve@hidden.test",
    )
    kinds: tuple[RecipientKind, ...] = ("to", "to", "to", "cc", "cc", "cc", "bcc")
    email_ = make_email(
        to=("ada@example.net",),
        recipients=tuple(
            make_recipient(address, kind) for address, kind in zip(addresses, kinds, strict=True)
        ),
    )
    async with running_ses() as ses:
        result = await ses.provider.send(email_, IN_TIME_S)
        (taken,) = ses.simulator.messages
    accepted, rejected = Outcome.ACCEPTED, Outcome.REJECTED
    assert [entry.outcome for entry in result.recipients] == [
        accepted, rejected, rejected, rejected, rejected, accepted, accepted,
    ]  # fmt: skip
    assert [entry.recipient_id for entry in result.recipients] == [
        recipient.recipient_id for recipient in email_.recipients
    ]
    assert result.recipients[1].enhanced_code == "5.6.7"
    assert result.recipients[2].enhanced_code == "5.1.3"
    assert taken.recipients == ("ada@example.net", "bob@example.net", "eve@hidden.test")


async def test_refusal_by_ses_leaves_those_refused_beforehand_as_they_were() -> None:
    email_ = make_email(
        recipients=(make_recipient("δοκιμή@example.net"), make_recipient("ada@example.net"))
    )
    async with running_ses() as ses:
        ses.simulator.faults.replace(answer(503, "ServiceUnavailable", "Later."))
        result = await ses.provider.send(email_, IN_TIME_S)
    assert [entry.outcome for entry in result.recipients] == [
        Outcome.REJECTED,
        Outcome.UNAVAILABLE,
    ]


async def test_email_to_nobody_that_ses_can_reach_makes_no_contact() -> None:
    email_ = make_email(recipients=(make_recipient("δοκιμή@example.net"),))
    async with running_ses() as ses:
        ses.simulator.faults.replace(HTTPFault(action="hang"))
        result = await ses.provider.send(email_, IN_TIME_S)
    assert result.recipients[0].outcome is Outcome.REJECTED


async def test_more_recipients_than_ses_takes_are_all_refused_before_contact() -> None:
    many = tuple(make_recipient(f"r{number}@example.net") for number in range(51))
    async with running_ses() as ses:
        result = await ses.provider.send(make_email(recipients=many), IN_TIME_S)
        assert ses.simulator.messages == []
        assert {entry.outcome for entry in result.recipients} == {Outcome.REJECTED}
        assert result.phase == "size"
        assert "50" in result.recipients[0].detail
        assert "51" in result.recipients[0].detail
        result = await ses.provider.send(make_email(recipients=many[:50]), IN_TIME_S)
        assert {entry.outcome for entry in result.recipients} == {Outcome.ACCEPTED}


async def test_message_of_the_largest_size_passes_and_a_larger_one_never_leaves() -> None:
    # Base64 makes 76 characters and a line end of 57 bytes.
    fits, large = (
        make_email(
            attachments=(Attachment(filename="a", content_type="a/b", body=bytes(size_bytes)),)
        )
        for size_bytes in (MAX_MESSAGE_BYTES * 72 // 100, MAX_MESSAGE_BYTES * 75 // 100)
    )
    async with running_ses() as ses:
        result = await ses.provider.send(large, 60.0)
        assert ses.simulator.messages == []
        assert (result.recipients[0].outcome, result.phase) == (Outcome.REJECTED, "size")
        assert str(MAX_MESSAGE_BYTES) in result.recipients[0].detail
        result = await ses.provider.send(fits, 60.0)
        assert result.recipients[0].outcome is Outcome.ACCEPTED
        assert len(ses.simulator.messages[0].raw) > 40_000_000


async def test_email_that_finds_no_place_is_busy_and_nothing_was_sent() -> None:
    async with running_ses(connections=1) as ses:
        ses.simulator.faults.replace(HTTPFault(action="hang"))
        first = asyncio.create_task(ses.provider.send(make_email(), IN_TIME_S))
        await wait_until(lambda: len(ses.simulator.messages) == 1)
        with pytest.raises(ProviderBusy):
            await ses.provider.send(make_email(), 0.3)
        ses.simulator.faults.replace()
        assert (await first).recipients[0].outcome is Outcome.ACCEPTED
        assert len(ses.simulator.messages) == 1


async def test_second_tenant_s_email_is_tagged_as_its_own() -> None:
    ours, theirs = make_email(), make_email()
    async with running_ses() as ses:
        await asyncio.gather(
            ses.provider.send(ours, IN_TIME_S), ses.provider.send(theirs, IN_TIME_S)
        )
        tagged = {
            (taken.tags[TENANT_ID_TAG], taken.tags[EMAIL_ID_TAG])
            for taken in ses.simulator.messages
        }
    assert tagged == {(str(item.tenant_id), str(item.email_id)) for item in (ours, theirs)}
