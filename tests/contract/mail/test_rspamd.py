"""rspamd, the filter of many mailboxes, on our messages: who they are from, and their form."""

import datetime as dt

import pytest
from msgspec.structs import replace

from tallypost_providers.message import render
from tallypost_providers.types import DKIMKey, OutgoingEmail
from tests.contract.mail.conftest import SENDING_IP
from tests.support.rspamd import Rspamd, Verdict
from tests.unit.providers.emails import SENDING_DOMAIN, make_dkim_key, make_email
from tests.unit.providers.mail_shapes import SHAPES

OTHER_IP = "192.0.2.99"
RSA, ED25519 = make_dkim_key("rsa-sha256"), make_dkim_key("ed25519-sha256")
# The rules that fire where a message is not written as the standards want it. Others, about what
# it says and to whom, are the tenant's matter.
FAULTS_OF_FORM = {
    "BROKEN_CONTENT_TYPE", "BROKEN_HEADERS", "CTE_CASE", "CTYPE_MISSING_DISPOSITION",
    "CTYPE_MIXED_BOGUS", "FROM_INVALID", "FROM_NEEDS_ENCODING", "HEADER_CC_EMPTY_DELIMITER",
    "HEADER_DATE_EMPTY_DELIMITER", "HEADER_FROM_EMPTY_DELIMITER",
    "HEADER_REPLYTO_EMPTY_DELIMITER", "HEADER_TO_EMPTY_DELIMITER", "INVALID_DATE",
    "INVALID_MSGID", "MIME_BAD", "MIME_BASE64_TEXT_BOGUS", "MIME_HEADER_CTYPE_ONLY",
    "MIME_UNKNOWN", "MISSING_DATE", "MISSING_FROM", "MISSING_MID", "MISSING_MIME_VERSION",
    "MISSING_SUBJECT", "MISSING_TO", "MULTIPLE_FROM", "MULTIPLE_UNIQUE_HEADERS", "R_BAD_CTE_7BIT",
    "R_MISSING_CHARSET", "SUBJECT_NEEDS_ENCODING", "SUSPICIOUS_BOUNDARY", "TO_NEEDS_ENCODING",
}  # fmt: skip


def signed_email() -> OutgoingEmail:
    return make_email(
        html="<p>Hello, world.</p>",
        dkim_keys=(RSA, ED25519),
        created_at=dt.datetime.now(dt.UTC),
    )


def judge(rspamd: Rspamd, message: bytes, *, ip: str = SENDING_IP) -> Verdict:
    return rspamd.judge(
        message,
        envelope_sender=f"bounce+1@{SENDING_DOMAIN}",
        recipient="ada@example.net",
        ip=ip,
    )


def test_signed_message_passes_dkim_spf_and_dmarc(rspamd: Rspamd) -> None:
    verdict = judge(rspamd, render(signed_email()))
    assert {"R_DKIM_ALLOW", "R_SPF_ALLOW", "DMARC_POLICY_ALLOW"} <= set(verdict.symbols)


@pytest.mark.parametrize("key", [RSA, ED25519], ids=lambda key: key.algorithm)
def test_either_signature_alone_carries_a_forwarded_message(rspamd: Rspamd, key: DKIMKey) -> None:
    message = render(replace(signed_email(), dkim_keys=(key,)))
    verdict = judge(rspamd, message, ip=OTHER_IP)
    assert {"R_DKIM_ALLOW", "R_SPF_FAIL", "DMARC_POLICY_ALLOW"} <= set(verdict.symbols)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Hello, world", b"Hello, there"),
        (b"Subject: Hello", b"Subject: Goodbye"),
        (b"To: Ada <ada@", b"To: Ada <eve@"),
        (b"\r\nSubject:", b"\r\nCc: eve@example.net\r\nSubject:"),
    ],
)
def test_tampered_message_fails_dkim(rspamd: Rspamd, before: bytes, after: bytes) -> None:
    message = render(signed_email())
    tampered = message.replace(before, after)
    assert tampered != message
    verdict = judge(rspamd, tampered)
    assert "R_DKIM_REJECT" in verdict.symbols
    assert "R_DKIM_ALLOW" not in verdict.symbols


def test_tampered_message_from_another_server_is_rejected_by_policy(rspamd: Rspamd) -> None:
    tampered = render(signed_email()).replace(b"Hello, world", b"Hello, there")
    verdict = judge(rspamd, tampered, ip=OTHER_IP)
    assert {"R_DKIM_REJECT", "R_SPF_FAIL", "DMARC_POLICY_REJECT"} <= set(verdict.symbols)


def test_unsigned_message_from_another_server_is_rejected_by_policy(rspamd: Rspamd) -> None:
    message = render(replace(signed_email(), dkim_keys=()))
    verdict = judge(rspamd, message, ip=OTHER_IP)
    assert {"R_DKIM_NA", "R_SPF_FAIL", "DMARC_POLICY_REJECT"} <= set(verdict.symbols)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_signed_and_written_without_fault(rspamd: Rspamd, name: str) -> None:
    email = replace(SHAPES[name], dkim_keys=(RSA, ED25519), from_header=signed_email().from_header)
    verdict = judge(rspamd, render(email))
    assert "DMARC_POLICY_ALLOW" in verdict.symbols
    assert "R_DKIM_REJECT" not in verdict.symbols
    assert not FAULTS_OF_FORM & set(verdict.symbols)


def test_faults_of_form_would_be_found(rspamd: Rspamd) -> None:
    message = (
        "From:Ünsafe <hello@news.example.com>\r\nTo:Ünsafe <ada@example.net>\r\n"
        "Subject: Ünsafe\r\nSubject: again\r\nMessage-ID: none\r\nDate: yesterday\r\n"
        "Content-Type: text/plain\r\nContent-Transfer-Encoding: BASE64\r\n\r\naGVsbG8gd29ybGQ=\r\n"
    )
    found = FAULTS_OF_FORM & set(judge(rspamd, message.encode()).symbols)
    assert len(found) >= 8, found
