"""Emails of many shapes, sent with the official client, arrive once and as they were written.

Live email goes to Postfix's smtp-sink, test mode to the Inbox; the judge is the same.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from uuid import UUID

import pytest
import resend
from msgspec import Struct

from tests.e2e.main_job import judging
from tests.e2e.main_job.sending import send_all
from tests.support.corpus import Request, Sample, build, plan
from tests.support.database import SeededTenant
from tests.support.platform import Platform, wait_until
from tests.support.sinks import Delivered, PostfixSink

_DELIVERED_WITHIN_S = 900.0
_QUEUED = "SELECT count(*) FROM send_queue WHERE tenant_id = $1"
_EMAIL_STATUSES = "SELECT status, count(*) FROM emails WHERE tenant_id = $1 GROUP BY status"
_RECIPIENT_STATUSES = "SELECT status, count(*) FROM recipients WHERE tenant_id = $1 GROUP BY status"
_UNITS = "SELECT coalesce(sum(units), 0) FROM usage_ledger WHERE tenant_id = $1"
_INBOX = """
    SELECT email_id, envelope_sender, envelope_recipients, message FROM inbox_messages
    WHERE tenant_id = $1 AND email_id = ANY ($2)
"""
_INBOX_PAGE = 20
_PAGE = 100


class Run(Struct, frozen=True, kw_only=True):
    """The emails of one tenant, sent and delivered."""

    platform: Platform
    sink: PostfixSink
    tenant: SeededTenant
    is_live: bool
    sent: dict[UUID, Sample]

    def request(self, email_id: UUID) -> Request:
        """What was asked for under an id."""
        return build(self.sent[email_id], self.tenant.domain)

    def recipient_count(self) -> int:
        """Mailboxes that were to get a copy, over all emails."""
        return sum(len(judging.envelope(self.request(email_id))) for email_id in self.sent)

    def copies(self) -> Iterator[tuple[UUID, Delivered]]:
        """Every message that arrived, with the id of its email; one at a time, they are large."""
        if self.is_live:
            for delivered in self.sink.read():
                yield UUID(judging.parse(delivered.message)["X-Tallypost-Email-Id"]), delivered
            return
        ids = iter(self.sent)
        while page := list(islice(ids, _INBOX_PAGE)):
            for row in self.platform.fetch(_INBOX, self.tenant.id, page):
                yield row[0], Delivered(row[1], tuple(row[2]), row[3])

    @contextmanager
    def client(self) -> Iterator[None]:
        """Let the official client speak for the tenant within the block."""
        key = self.tenant.live_key if self.is_live else self.tenant.test_key
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resend, "api_url", self.platform.api_url)
            patch.setattr(resend, "api_key", key.token)
            yield


def _runs() -> Iterator[object]:
    for count, large in ((200, 4), (2_000, 40)):
        for is_live in (True, False):
            marks = [pytest.mark.slow, pytest.mark.timeout(1_800)] if count > 200 else []
            name = f"{count} to {'smtp-sink' if is_live else 'the Inbox'}"
            yield pytest.param((count, large, is_live), id=name, marks=marks)


@pytest.fixture(scope="module", params=_runs())
def run(request: pytest.FixtureRequest, platform: Platform, sink: PostfixSink) -> Run:
    """Send the corpus and wait until nothing is left to do."""
    count, large, is_live = request.param
    tenant = platform.add_tenant(f"{'live' if is_live else 'test'}-{count}.example.com")
    sink.clear()
    run = Run(platform=platform, sink=sink, tenant=tenant, is_live=is_live, sent={})
    with run.client():
        run.sent.update(send_all(plan(count, large=large), tenant.domain))
    wait_until(
        lambda: platform.count(_QUEUED, tenant.id) == 0,
        within_s=_DELIVERED_WITHIN_S,
        what="every email has ended",
    )
    return run


def test_every_recipient_gets_one_copy(run: Run) -> None:
    arrived = Counter(
        (email_id, recipient)
        for email_id, delivered in run.copies()
        for recipient in delivered.envelope_recipients
    )
    expected = Counter(
        (email_id, recipient)
        for email_id in run.sent
        for recipient in judging.envelope(run.request(email_id))
    )
    assert arrived == expected


def test_nobody_can_see_hidden_recipients(run: Run) -> None:
    hidden = 0
    for email_id, delivered in run.copies():
        request = run.request(email_id)
        parsed = judging.parse(delivered.message)
        assert judging.list_hidden_shown(request, delivered.message, parsed) == []
        hidden += len(request.get("bcc", ()))
    assert hidden > 0


def test_messages_parse_and_say_what_was_written(run: Run) -> None:
    for email_id, delivered in run.copies():
        request = run.request(email_id)
        parsed = judging.parse(delivered.message)
        assert judging.list_defects(parsed) == []
        assert judging.seen(delivered.message, parsed, request) == judging.described(request)


def test_every_signature_verifies(run: Run) -> None:
    for _, delivered in run.copies():
        parsed = judging.parse(delivered.message)
        verified = judging.list_verified(delivered.message, parsed, run.tenant.domain)
        assert verified == ["ed25519-sha256", "rsa-sha256"]


def test_every_recipient_is_recorded_as_sent_and_metered_once_if_live(run: Run) -> None:
    emails, recipients = len(run.sent), run.recipient_count()
    assert dict(run.platform.fetch(_EMAIL_STATUSES, run.tenant.id)) == {"sent": emails}
    assert dict(run.platform.fetch(_RECIPIENT_STATUSES, run.tenant.id)) == {"sent": recipients}
    assert run.platform.count(_UNITS, run.tenant.id) == (recipients if run.is_live else 0)


def test_the_client_reads_every_email_back(run: Run) -> None:
    read: dict[UUID, str] = {}
    params: resend.Emails.ListParams = {"limit": _PAGE}
    with run.client():
        while True:
            page = resend.Emails.list(params)
            read |= {UUID(item["id"]): item["last_event"] for item in page["data"]}
            if not page["has_more"]:
                break
            params = {"limit": _PAGE, "after": page["data"][-1]["id"]}
    assert read == dict.fromkeys(run.sent, "sent")
