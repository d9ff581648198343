"""What every provider promises (`tallypost_providers.base`), tried on each of them."""

import asyncio
import email
import email.policy
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from tallypost_core.plugin_loading import list_entry_points
from tallypost_core.settings.plugins import PROVIDERS_GROUP
from tallypost_providers.errors import EmailNotBuildable, ProviderBusy
from tallypost_providers.look_ups import address_key, find_look_up
from tallypost_providers.registry import get_provider_class, is_ours
from tallypost_providers.types import Attachment, Outcome, OutgoingEmail, SendResult
from tallypost_worker.settlements import storable
from tests.contract.providers.cases import CASES, Case, list_cases, open_case
from tests.support.smtp_peers import wait_until
from tests.unit.providers.dkim_judge import verifies
from tests.unit.providers.emails import make_dkim_key, make_email, make_recipient

IN_TIME_S = 10.0
SHORT_S = 1.0
# Beyond what a call was given. It only bounds a hang: how long a call takes is not judged here.
HANG_S = 20.0
WORD = "nobody-else-is-to-read-this"


@pytest.fixture(params=list_cases())
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    """One provider after the other, or the one that was asked for."""
    async with open_case(request.param) as case_:
        yield case_


def outcomes(result: SendResult) -> list[Outcome]:
    return [entry.outcome for entry in result.recipients]


async def send(case: Case, email_: OutgoingEmail, timeout_s: float = IN_TIME_S) -> SendResult:
    """One handover, which has to come back."""
    async with asyncio.timeout(timeout_s + HANG_S):
        return await case.provider.send(email_, timeout_s)


def email_to_three() -> OutgoingEmail:
    return make_email(
        to=("Ada <ada@example.net>",),
        cc=("Bob <bob@example.net>",),
        html="<p>hi",
        recipients=(
            make_recipient("ada@example.net"),
            make_recipient("bob@example.net", "cc"),
            make_recipient("eve@hidden.test", "bcc"),
        ),
    )


def test_every_installed_provider_of_ours_is_in_this_suite() -> None:
    installed = list_entry_points(PROVIDERS_GROUP)
    ours = {entry_point.name for entry_point in installed if is_ours(entry_point)}
    assert ours == set(CASES)


async def test_class_is_found_by_the_name_that_it_bears(case: Case) -> None:
    assert get_provider_class(case.provider.name) is type(case.provider)
    assert case.provider.account


async def test_accepted_email_has_one_entry_for_each_recipient_in_order(case: Case) -> None:
    email_ = email_to_three()
    result = await send(case, email_)
    assert [entry.recipient_id for entry in result.recipients] == [
        recipient.recipient_id for recipient in email_.recipients
    ]
    assert outcomes(result) == [Outcome.ACCEPTED] * 3
    assert result.phase


async def test_message_arrives_as_it_was_rendered_signed_unless_the_provider_signs(
    case: Case,
) -> None:
    email_ = make_email(
        html="<p>שלום</p>\r\n.\r\n..dots\r\n",
        text=".\n",
        dkim_keys=(make_dkim_key("rsa-sha256"), make_dkim_key("ed25519-sha256")),
        attachments=(Attachment(filename="a.bin", content_type="a/b", body=bytes(300_000)),),
    )
    await send(case, email_)
    (delivery,) = case.deliveries()
    assert delivery.message == case.expect(email_)
    if case.provider.capabilities.signs_dkim:
        assert b"DKIM-Signature" not in delivery.message
    else:
        assert verifies(delivery.message, 0)
        assert verifies(delivery.message, 1)


async def test_repeat_sends_the_same_bytes(case: Case) -> None:
    email_ = email_to_three()
    await send(case, email_)
    await send(case, email_)
    first, second = case.deliveries()
    assert first == second


async def test_hidden_recipient_is_reached_and_in_no_header(case: Case) -> None:
    await send(case, email_to_three())
    (delivery,) = case.deliveries()
    assert "eve@hidden.test" in delivery.recipients
    assert b"hidden.test" not in delivery.message


async def test_only_the_recipients_asked_for_get_the_message(case: Case) -> None:
    email_ = email_to_three()
    some = replace(email_, recipients=email_.recipients[1:2])
    result = await send(case, some)
    if not case.provider.capabilities.keeps_envelope:
        # It leaves the others out of the header too, or sends nothing.
        reached = [address for item in case.deliveries() for address in item.recipients]
        is_taken = outcomes(result) == [Outcome.ACCEPTED]
        assert reached == (["bob@example.net"] if is_taken else [])
        return
    (delivery,) = case.deliveries()
    assert delivery.recipients == ("bob@example.net",)
    assert email.message_from_bytes(delivery.message)["To"] == "Ada <ada@example.net>"


async def test_refusal_of_everything_may_go_elsewhere_and_took_nothing(case: Case) -> None:
    case.fail()
    result = await send(case, email_to_three())
    assert outcomes(result) == [Outcome.UNAVAILABLE] * 3
    assert case.deliveries() == []


async def test_silence_after_the_message_left_is_ambiguous(case: Case) -> None:
    case.fall_silent()
    result = await send(case, email_to_three(), SHORT_S)
    assert outcomes(result) == [Outcome.AMBIGUOUS] * 3
    assert len(case.deliveries()) == 1


async def test_answer_that_is_lost_after_the_message_left_is_ambiguous(case: Case) -> None:
    case.lose_answer()
    result = await send(case, email_to_three())
    assert outcomes(result) == [Outcome.AMBIGUOUS] * 3
    assert len(case.deliveries()) == 1


@pytest.mark.parametrize("is_silent", [False, True], ids=["heard", "silent"])
async def test_recipient_who_is_refused_alone_keeps_nobody_else_from_the_message(
    case: Case, is_silent: bool
) -> None:
    if case.refuse_one is None:
        pytest.skip("its case says that it refuses nobody alone")
    email_ = make_email(
        to=("Ada <ada@example.net>",),
        cc=("Bob <bob@example.net>",),
        recipients=(
            make_recipient("ada@example.net"),
            make_recipient(case.refuse_one(), "bcc"),
            make_recipient("bob@example.net", "cc"),
        ),
    )
    if is_silent:
        case.fall_silent()
    result = await send(case, email_, SHORT_S if is_silent else IN_TIME_S)
    others = Outcome.AMBIGUOUS if is_silent else Outcome.ACCEPTED
    assert outcomes(result) == [others, Outcome.REJECTED, others]
    assert [entry.recipient_id for entry in result.recipients] == [
        recipient.recipient_id for recipient in email_.recipients
    ]
    assert result.recipients[1].detail
    (delivery,) = case.deliveries()
    assert sorted(delivery.recipients) == ["ada@example.net", "bob@example.net"]


async def test_inline_image_arrives_beside_the_html_that_shows_it(case: Case) -> None:
    logo = Attachment(
        filename="logo.png", content_type="image/png", body=bytes(range(256)), content_id="logo"
    )
    paper = Attachment(filename="a.pdf", content_type="application/pdf", body=b"%PDF" + bytes(9))
    result = await send(
        case, make_email(html='<p>Hi <img src="cid:logo"></p>', attachments=(logo, paper))
    )
    assert outcomes(result) == [Outcome.ACCEPTED]
    (delivery,) = case.deliveries()
    message = email.message_from_bytes(delivery.message, policy=email.policy.default)
    (related,) = (part for part in message.walk() if part.get_content_type() == "multipart/related")
    html, image = related.iter_parts()
    assert html.get_content().strip() == '<p>Hi <img src="cid:logo"></p>'
    assert image["Content-ID"] == "<logo>"
    assert image.get_content_disposition() == "inline"
    assert (image.get_content_type(), image.get_content()) == ("image/png", logo.body)
    (file,) = message.iter_attachments()
    assert (file.get_filename(), file.get_content()) == ("a.pdf", paper.body)


@pytest.mark.parametrize("state", ["well", "fail", "fall_silent", "lose_answer"])
async def test_answer_is_stored_as_it_was_given_and_tells_nothing_of_the_content(
    case: Case, state: str
) -> None:
    email_ = replace(
        email_to_three(),
        text=f"{WORD}\n",
        html=f"<p>{WORD}</p>",
        attachments=(Attachment(filename="a.txt", content_type="text/plain", body=WORD.encode()),),
    )
    if state != "well":
        getattr(case, state)()
    result = await send(case, email_, SHORT_S if state == "fall_silent" else IN_TIME_S)
    assert storable(result, email_) == result
    assert result.phase
    assert WORD not in repr(result)


async def test_provider_works_again_once_the_other_side_does(case: Case) -> None:
    case.fall_silent()
    await send(case, make_email(), SHORT_S)
    case.recover()
    case.fail()
    await send(case, make_email())
    case.recover()
    result = await send(case, make_email())
    assert outcomes(result) == [Outcome.ACCEPTED]


async def test_email_that_cannot_be_built_raises_before_any_contact(case: Case) -> None:
    with pytest.raises(EmailNotBuildable):
        await send(case, make_email(subject="a\r\nBcc: eve@hidden.test"))
    assert case.deliveries() == []


async def test_many_at_once_arrive_once_each_and_are_not_mixed_up(case: Case) -> None:
    addresses = [f"r{number}@example.net" for number in range(40)]
    emails = [
        make_email(to=(address,), recipients=(make_recipient(address),)) for address in addresses
    ]
    results = await asyncio.gather(*(send(case, item) for item in emails))
    assert {outcome for result in results for outcome in outcomes(result)} == {Outcome.ACCEPTED}
    arrived = Counter((item.recipients, item.message) for item in case.deliveries())
    assert arrived == Counter(((item.recipients[0].address,), case.expect(item)) for item in emails)


async def test_cancelled_call_does_not_spoil_the_next(case: Case) -> None:
    case.fall_silent()
    call = asyncio.create_task(send(case, make_email()))
    await wait_until(lambda: bool(case.deliveries()))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    case.recover()
    result = await send(case, make_email(subject="Next"))
    assert outcomes(result) == [Outcome.ACCEPTED]
    assert b"Subject: Next" in case.deliveries()[-1].message


async def test_nothing_is_known_against_an_ordinary_email(case: Case) -> None:
    assert case.provider.find_obstacle(email_to_three()) is None


async def test_closing_twice_is_harmless(case: Case) -> None:
    await send(case, make_email())
    await case.provider.close()
    await case.provider.close()


async def test_closing_lets_a_handover_that_is_under_way_finish(case: Case) -> None:
    case.answer_late()
    call = asyncio.create_task(send(case, email_to_three()))
    await wait_until(lambda: bool(case.deliveries()))
    assert not call.done()
    await case.provider.close()
    assert outcomes(await call) == [Outcome.ACCEPTED] * 3
    assert len(case.deliveries()) == 1


async def test_email_after_closing_is_delivered_or_refused_as_busy(case: Case) -> None:
    await send(case, make_email())
    await case.provider.close()
    email_ = make_email(subject="Late")
    try:
        result = await send(case, email_)
    except ProviderBusy:
        assert len(case.deliveries()) == 1
    else:
        assert outcomes(result) == [Outcome.ACCEPTED]
        assert [delivery.message for delivery in case.deliveries()[1:]] == [case.expect(email_)]


async def test_provider_that_can_be_asked_knows_what_it_took_in_silence(case: Case) -> None:
    account = find_look_up(case.provider)
    if account is None:
        pytest.skip("its capabilities say that it cannot be asked")
    email_, other = email_to_three(), make_email()
    case.fall_silent()
    result = await send(case, email_, SHORT_S)
    assert set(outcomes(result)) == {Outcome.AMBIGUOUS}
    found = await account.look_up(email_.email_id)
    assert {address_key(message.address) for message in found} == {
        address_key(recipient.address) for recipient in email_.recipients
    }
    assert all(message.provider_message_id and message.status for message in found)
    assert await account.look_up(other.email_id) == ()
