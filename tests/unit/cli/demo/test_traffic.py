"""Sample traffic: what it sends, how much of it at a time, and what becomes of failures."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import structlog

from tallypost_cli.demo import traffic as traffics
from tallypost_cli.demo.journal import Journal
from tallypost_cli.demo.samples import Account, SampleEmail, SampleWriter, list_accounts
from tallypost_cli.demo.traffic import NotAccepted, Traffic
from tallypost_cli.sample_access import SampleAccess, TenantAccess
from tallypost_simulators.control_app import ControlRefused
from tests.unit.cli.demo.stand_ins import wait_until

_ACCOUNT = Account("key", "hello@example.com", 1)


class FakeAPI:
    """Takes emails, fails, or keeps everybody waiting."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.most_under_way = 0
        self.under_way = 0
        self.is_failing = False
        self.is_broken = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def send(self, _key: str, emails: Sequence[SampleEmail]) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.answers.wait()
        finally:
            self.under_way -= 1
        if self.is_failing:
            raise NotAccepted("the API answered 503")
        if self.is_broken:
            raise ValueError("hello@example.com")
        self.sizes.append(len(emails))


@asynccontextmanager
async def _running(api: FakeAPI, journal: Journal | None = None) -> AsyncIterator[Traffic]:
    traffic = Traffic(api.send, SampleWriter([_ACCOUNT]), journal or Journal())
    traffic.set_rate(0)
    running = asyncio.create_task(traffic.run())
    try:
        yield traffic
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_burst_is_sent_whole_in_batches_of_a_hundred() -> None:
    api = FakeAPI()
    async with _running(api) as traffic:
        traffic.burst(250)
        await wait_until(lambda: traffic.state.accepted == 250)
    assert sorted(api.sizes) == [50, 100, 100]


async def test_steady_traffic_is_one_email_at_a_time_and_stops_at_zero() -> None:
    api = FakeAPI()
    async with _running(api) as traffic:
        assert not traffic.state.is_on
        traffic.set_rate(200)
        await wait_until(lambda: len(api.sizes) >= 20)
        traffic.set_rate(0)
        assert not traffic.state.is_on
    assert set(api.sizes) == {1}


async def test_an_api_that_does_not_answer_is_not_flooded() -> None:
    api = FakeAPI()
    api.answers.clear()
    async with _running(api) as traffic:
        traffic.set_rate(200)
        traffic.burst(5000)
        await wait_until(lambda: api.under_way >= 36)
        # Time enough for some forty emails more.
        await asyncio.sleep(0.2)
        assert api.most_under_way == 36


async def test_failures_are_counted_and_noted_and_the_traffic_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffics, "_REPORT_EVERY_S", 0.01)
    api, journal = FakeAPI(), Journal()
    api.is_failing = True
    async with _running(api, journal) as traffic:
        traffic.burst(200)
        await wait_until(lambda: traffic.state.failed == 200 and bool(journal.list_newest()))
        api.is_failing = False
        traffic.burst(5)
        await wait_until(lambda: traffic.state.accepted == 5)
    notes = " ".join(action.text for action in journal.list_newest())
    assert "sample emails were not accepted: the API answered 503." in notes


async def test_a_failure_that_nobody_expected_is_told_and_logged_and_the_traffic_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffics, "_REPORT_EVERY_S", 0.01)
    api, journal = FakeAPI(), Journal()
    api.is_broken = True
    async with _running(api, journal) as traffic:
        with structlog.testing.capture_logs() as logs:
            traffic.burst(1000)
            traffic.set_rate(200)
            await wait_until(lambda: traffic.state.failed > 1000 and bool(journal.list_newest()))
        api.is_broken = False
        traffic.burst(5000)
        await wait_until(lambda: traffic.state.accepted > 5000)
    notes = " ".join(action.text for action in journal.list_newest())
    assert "were not accepted: an unexpected ValueError, which is logged." in notes
    assert {entry["event"] for entry in logs} == {"demo.traffic_failed"}
    assert "hello@example.com" not in notes + repr(logs)


async def test_bursts_that_would_pile_up_without_end_are_refused() -> None:
    api = FakeAPI()
    api.answers.clear()
    async with _running(api) as traffic:
        for _ in range(4):
            traffic.burst(5000)
        with pytest.raises(ControlRefused, match="try again"):
            traffic.burst(1)
        traffic.drop_waiting()
        traffic.burst(5000)


def test_sample_emails_are_marked_and_stay_within_example_domains() -> None:
    writer = SampleWriter([_ACCOUNT])
    emails = [writer.write(_ACCOUNT) for _ in range(500)]
    for email in emails:
        assert email.subject.startswith("[Sample] ")
        assert "sample data" in email.text
        assert email.headers == {"X-Sample-Data": "yes"}
        assert email.to[0].endswith(("@example.com", "@example.net", "@example.org"))
    assert len({email.to[0] for email in emails}) == 500
    assert len({email.subject for email in emails}) > 100
    assert 0 < sum(bool(email.html) for email in emails) < 500
    assert 0 < sum(bool(email.attachments) for email in emails) < 250


def test_a_sample_email_has_the_names_that_the_api_reads() -> None:
    email = SampleWriter([_ACCOUNT]).write(_ACCOUNT)
    written = msgspec.to_builtins(email)
    assert written["from"] == "hello@example.com"
    assert {tag["name"] for tag in written["tags"]} == {"sample", "kind"}
    assert "sender" not in written


def test_both_tenants_send_and_a_share_is_in_test_mode() -> None:
    first = TenantAccess("o@example.com", "p", "tp_live_1", "tp_test_1", "hello@example.com")
    second = TenantAccess("o@example.org", "p", "tp_live_2", "tp_test_2", "hello@example.org")
    accounts = list_accounts(SampleAccess(first, second, "op@example.net", "p"))
    writer = SampleWriter(accounts)
    chosen = [writer.choose_account() for _ in range(1000)]
    counts = {account.key: chosen.count(account) for account in accounts}
    assert counts["tp_live_1"] > counts["tp_live_2"] > counts["tp_test_1"] > 0
    assert all(
        account.sender.endswith("org") == (account.key == "tp_live_2") for account in accounts
    )
