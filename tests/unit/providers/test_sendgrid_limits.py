"""What is not handed to SendGrid, and what may not even be routed there."""

import pytest
from msgspec.structs import replace

from tallypost_providers.errors import EmailNotBuildable
from tallypost_providers.sendgrid import SendGridProvider
from tallypost_providers.sendgrid_envelope import read_envelope
from tallypost_providers.sendgrid_limits import (
    MAX_BYTES,
    MAX_RECIPIENTS,
    find_obstacle,
    find_refusal,
    require_buildable,
)
from tallypost_providers.types import Attachment, Outcome, OutgoingEmail
from tests.unit.providers.emails import make_email, make_recipient


def email_to_two() -> OutgoingEmail:
    return make_email(
        to=("Ada <ada@example.net>",),
        cc=("bob@example.net",),
        recipients=(
            make_recipient("ada@example.net"),
            make_recipient("bob@example.net", "cc"),
            make_recipient("eve@hidden.test", "bcc"),
        ),
    )


def test_email_for_everybody_whom_it_names_can_be_taken() -> None:
    assert find_obstacle(email_to_two()) is None
    assert SendGridProvider.find_obstacle(email_to_two()) is None


@pytest.mark.parametrize("places", [[0], [1], [2], [0, 2], [1, 2]])
def test_email_that_names_somebody_who_is_not_to_get_it_belongs_elsewhere(
    places: list[int],
) -> None:
    email = email_to_two()
    pending = tuple(email.recipients[place] for place in places)
    retried = replace(email, recipients=pending)
    refusal = find_refusal(retried, read_envelope(retried))
    assert refusal is not None
    assert refusal.outcome is Outcome.UNAVAILABLE
    assert find_obstacle(retried) == refusal.detail


def test_hidden_recipients_need_not_be_pending() -> None:
    email = email_to_two()
    assert find_obstacle(replace(email, recipients=email.recipients[:2])) is None


def many(count: int) -> OutgoingEmail:
    hidden = tuple(make_recipient(f"r{number}@example.net", "bcc") for number in range(count - 1))
    return make_email(recipients=(make_recipient("ada@example.net"), *hidden))


LIMITS: dict[str, tuple[OutgoingEmail, str, str]] = {
    "recipients": (many(MAX_RECIPIENTS + 1), "envelope", "1001 recipients"),
    "no to": (
        make_email(
            to=(),
            cc=("bob@example.net",),
            recipients=(make_recipient("bob@example.net", "cc"),),
        ),
        "envelope",
        "To",
    ),
    "subject": (make_email(subject=""), "content", "subject"),
    "content": (make_email(text="", html=None), "content", "content"),
    "no content": (make_email(text=None, html=""), "content", "content"),
    "attachment": (
        make_email(attachments=(Attachment(filename="a", content_type="a/b", body=b""),)),
        "content",
        "attachment",
    ),
    "header": (make_email(headers={"X-SG-EID": "1"}), "content", "X-SG-EID"),
    "text": (make_email(text="é" * (MAX_BYTES // 2)), "size", f"{MAX_BYTES}"),
    # JSON escapes quotes and line ends.
    "html": (make_email(html='"\n' * (MAX_BYTES // 4)), "size", f"{MAX_BYTES}"),
    "size": (
        make_email(
            attachments=(
                Attachment(filename="a", content_type="a/b", body=bytes(MAX_BYTES // 4 * 3)),
            )
        ),
        "size",
        f"{MAX_BYTES}",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit_of_sendgrid_is_a_refusal_that_names_it(name: str) -> None:
    email, phase, word = LIMITS[name]
    refusal = find_refusal(email, read_envelope(email))
    assert refusal is not None
    assert (refusal.outcome, refusal.phase) == (Outcome.REJECTED, phase)
    assert word in refusal.detail
    assert find_obstacle(email) == refusal.detail


def test_email_just_within_the_limits_is_taken() -> None:
    file = Attachment(filename="a", content_type="a/b", body=bytes(MAX_BYTES // 4 * 3 - 3))
    assert find_obstacle(make_email(text="a", attachments=(file,))) is None
    assert find_obstacle(many(MAX_RECIPIENTS)) is None


UNBUILDABLE: dict[str, OutgoingEmail] = {
    "subject": make_email(subject="a\r\nBcc: eve@hidden.test"),
    "sender": make_email(from_header="nobody"),
    "to": make_email(to=("jürgen@example.net",)),
    "header": make_email(headers={"Bcc": "eve@hidden.test"}),
    "header value": make_email(headers={"X-A": "a\nb"}),
    "reply to": make_email(reply_to=("a b",)),
    "text": make_email(text="\ud800"),
    "html": make_email(html="\ud800"),
    "file name": make_email(
        attachments=(Attachment(filename="a\n", content_type="a/b", body=b"a"),)
    ),
    "content type": make_email(
        attachments=(Attachment(filename="a", content_type="nonsense", body=b"a"),)
    ),
    "content id": make_email(
        html="<p>",
        attachments=(Attachment(filename="a", content_type="a/b", body=b"a", content_id="a b"),),
    ),
}


@pytest.mark.parametrize("name", UNBUILDABLE)
def test_what_no_provider_could_send_is_not_buildable(name: str) -> None:
    email = UNBUILDABLE[name]
    with pytest.raises(EmailNotBuildable):
        require_buildable(email)
    assert find_obstacle(email) is None


def test_hidden_recipient_with_an_unusable_address_is_left_out() -> None:
    email = email_to_two()
    bad = (make_recipient("jürgen@example.net", "bcc"), make_recipient("a b", "bcc"))
    envelope = read_envelope(replace(email, recipients=(*email.recipients, *bad)))
    assert envelope.unusable == {recipient.recipient_id for recipient in bad}
    assert [mailbox.address for mailbox in envelope.bcc] == ["eve@hidden.test"]
    assert envelope.is_whole
