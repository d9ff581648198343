"""The size by which SES is passed over is that of the message which it would get."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tallypost_providers import ses_sizes
from tallypost_providers.mime import build_message
from tallypost_providers.ses_sizes import find_size_over
from tallypost_providers.types import Attachment, OutgoingEmail
from tests.unit.providers.emails import make_dkim_key, make_email
from tests.unit.providers.mail_strategies import BODIES

# A busy machine makes drawing examples slow, which is no fault of the code.
PATIENT = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FILES = st.builds(
    Attachment,
    filename=st.sampled_from(["a.txt", "счёт.pdf", ""]),
    content_type=st.sampled_from(["text/plain; charset=utf-8", "application/pdf"]),
    body=st.sampled_from([0, 1, 2, 3, 56, 57, 58, 54_720, 72_961, 72_962]).map(bytes),
    content_id=st.sampled_from([None, "logo"]),
)
EMAILS = st.builds(
    make_email,
    text=st.none() | BODIES,
    html=st.none() | BODIES,
    attachments=st.lists(FILES, max_size=3).map(tuple),
)
LIMIT_BYTES = 1_000_000


@PATIENT
@given(EMAILS)
def test_size_is_exact_for_every_email(email: OutgoingEmail) -> None:
    assert find_size_over(email, 0) == len(build_message(email))


@PATIENT
@given(EMAILS)
def test_rough_size_is_never_less_than_the_exact_one(email: OutgoingEmail) -> None:
    bare = tuple(replace(attachment, body=b"") for attachment in email.attachments)
    email = replace(email, attachments=bare)
    assert ses_sizes._most_bytes_besides(email) >= len(build_message(email))


GAP: dict[str, dict[str, object]] = {
    # Base64 is four characters for three bytes, and line ends besides.
    "attachment": {
        "attachments": (
            Attachment(filename="a", content_type="a/b", body=bytes(LIMIT_BYTES * 74 // 100)),
        )
    },
    "text in another script": {"html": "Ж" * (LIMIT_BYTES * 2 // 5)},
    "text of signs that are escaped": {"text": ("=" * 11 + "é\n") * (LIMIT_BYTES // 28)},
}


@pytest.mark.parametrize("name", GAP)
def test_what_only_its_encoding_makes_too_large_is_known_to_be(name: str) -> None:
    email = make_email(**GAP[name])
    assert find_size_over(email, LIMIT_BYTES) == len(build_message(email)) > LIMIT_BYTES


def test_size_at_the_limit_is_none_over_it() -> None:
    email = make_email(dkim_keys=(make_dkim_key("rsa-sha256"),), html="é" * 100_000)
    size_bytes = len(build_message(email))
    assert find_size_over(email, size_bytes) is None
    assert find_size_over(email, size_bytes - 1) == size_bytes


def test_email_that_can_be_no_message_has_no_size() -> None:
    assert find_size_over(make_email(subject="a\r\nBcc: eve@hidden.test"), 0) is None
