"""What SES takes in no case is known without asking it."""

from collections.abc import Sequence

import pytest

from tallypost_core.settings.loader import Secret
from tallypost_core.settings.providers import SESSettings
from tallypost_providers.ses import SESProvider
from tallypost_providers.ses_envelope import MAX_MESSAGE_BYTES, MAX_RECIPIENTS
from tallypost_providers.types import Attachment
from tests.unit.providers.emails import make_email, make_recipient


@pytest.fixture
def provider() -> SESProvider:
    settings = SESSettings(
        region="eu-west-1", access_key_id="sample", secret_access_key=Secret("sample")
    )
    return SESProvider(settings, "ses")


def attachment(size_bytes: int) -> Attachment:
    return Attachment(filename="a.bin", content_type="a/b", body=bytes(size_bytes))


def test_most_recipients_and_a_large_message_are_taken(provider: SESProvider) -> None:
    many = tuple(make_recipient(f"r{number}@example.net") for number in range(MAX_RECIPIENTS))
    email = make_email(recipients=many, attachments=(attachment(29_000_000),))
    assert provider.find_obstacle(email) is None


@pytest.mark.parametrize(
    ("addresses", "size_bytes", "word"),
    [
        ([f"r{number}@example.net" for number in range(MAX_RECIPIENTS + 1)], 0, "recipients"),
        (["a@example.net"], MAX_MESSAGE_BYTES * 3 // 4 + 1_000, "bytes"),
        # By the line ends of base64 alone.
        (["a@example.net"], 31_000_000, "bytes"),
        (["ö@example.net", "a@example.net"], 0, "ASCII"),
        (["a@under_score.example.net"], 0, "address"),
    ],
)
def test_obstacle_is_named(
    provider: SESProvider, addresses: Sequence[str], size_bytes: int, word: str
) -> None:
    email = make_email(
        recipients=tuple(make_recipient(address) for address in addresses),
        attachments=(attachment(size_bytes),) if size_bytes else (),
    )
    assert word in (provider.find_obstacle(email) or "")
