"""Every row of the table of SES failures, given by a server and seen by the real SDK.

Where the simulator gives an answer by itself, it is asked for it; others are put into its mouth.
"""

import asyncio
import datetime as dt
import socket
from collections.abc import Callable

import pytest

from tallypost_providers.http_failures import HTTPRow
from tallypost_providers.ses_failures import FAILURES, MAIL_FROM_UNVERIFIED, PAUSED, UNVERIFIED
from tallypost_providers.types import Outcome, SendResult
from tallypost_simulators.http_faults import HTTPFault, HTTPFaultAction
from tallypost_simulators.ses_account import SESAccount
from tests.support.ses import SES, answer, running_ses
from tests.unit.providers.emails import make_email

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

IN_TIME_S = 10.0
# Two thirds of it have to suffice for opening the SDK's client.
SHORT_S = 3.0
# What these mean stands in the text of the answer.
WORDS = {
    UNVERIFIED: ("MessageRejected", "Email address is not verified. The following failed: x"),
    PAUSED: ("MessageRejected", "Account is paused."),
}
ABOUT_MAIL = {MAIL_FROM_UNVERIFIED, "MessageRejected"}
NAMED = [row for row in FAILURES if " " in row.pattern and row.pattern[0] in "45x"]
STATED = [row for row in NAMED if not row.pattern.endswith("undocumented")]


def outcome(result: SendResult) -> Outcome:
    (entry,) = result.recipients
    return entry.outcome


async def send_with(ses: SES, *faults: HTTPFault, timeout_s: float = IN_TIME_S) -> SendResult:
    ses.simulator.faults.replace(*faults)
    return await ses.provider.send(make_email(), timeout_s)


@pytest.mark.parametrize("row", STATED, ids=lambda row: row.pattern)
async def test_stated_error_has_the_outcome_of_its_row(row: HTTPRow) -> None:
    status_pattern, _, name = row.pattern.partition(" ")
    status = int(status_pattern.replace("xxx", "400").replace("x", "0"))
    name, words = WORDS.get(name, (name, "In its own words."))
    async with running_ses() as ses:
        result = await send_with(ses, answer(status, name, words))
        (entry,) = result.recipients
        assert entry.outcome is row.outcome
        assert (entry.reply_code, result.phase) == (status, "http")
        # Of what SES has against the account a tenant is told the name only.
        is_private = row.outcome is Outcome.SUSPENDED and name not in ABOUT_MAIL
        told = f"SES refuses this account: {name}." if is_private else words
        assert entry.detail.startswith(told)
        assert result.evidence == {
            "status": str(status),
            "error": name,
            "request_id": "request-1",
        }
        assert ses.simulator.messages == []


def pause(account: SESAccount) -> None:
    account.is_paused = True


def suspend(account: SESAccount) -> None:
    account.is_suspended = True


def forget_domain(account: SESAccount) -> None:
    account.identities.clear()


def enter_sandbox(account: SESAccount) -> None:
    account.is_in_sandbox = True


def revoke_key(account: SESAccount) -> None:
    account.secrets.clear()


def change_secret(account: SESAccount) -> None:
    account.secrets = dict.fromkeys(account.secrets, "another")


def expire_token(account: SESAccount) -> None:
    account.is_token_expired = True


def forbid_sending(account: SESAccount) -> None:
    account.denied.add("SendEmail")


def use_up_quota(account: SESAccount) -> None:
    account.max_24_hour_send = 0


def use_up_rate(account: SESAccount) -> None:
    account.max_send_rate = 0


@pytest.mark.parametrize(
    ("turn", "name", "wanted"),
    [
        (pause, "SendingPausedException", Outcome.SUSPENDED),
        (suspend, "AccountSuspendedException", Outcome.SUSPENDED),
        (forget_domain, "MessageRejected", Outcome.SUSPENDED),
        (enter_sandbox, "MessageRejected", Outcome.SUSPENDED),
        (revoke_key, "UnrecognizedClientException", Outcome.SUSPENDED),
        (change_secret, "InvalidSignatureException", Outcome.SUSPENDED),
        (expire_token, "ExpiredTokenException", Outcome.SUSPENDED),
        (forbid_sending, "AccessDeniedException", Outcome.SUSPENDED),
        (use_up_quota, "ThrottlingException", Outcome.THROTTLED),
        (use_up_rate, "TooManyRequestsException", Outcome.THROTTLED),
    ],
)
async def test_account_that_may_not_send_is_told_from_a_message_that_is_refused(
    turn: Callable[[SESAccount], None], name: str, wanted: Outcome
) -> None:
    async with running_ses() as ses:
        turn(ses.simulator.account)
        result = await ses.provider.send(make_email(), IN_TIME_S)
        assert outcome(result) is wanted
        assert result.evidence["error"] == name
        assert result.evidence["request_id"]


async def test_domain_that_is_not_verified_is_no_matter_of_the_account() -> None:
    async with running_ses() as ses:
        forget_domain(ses.simulator.account)
        assert (await ses.provider.send(make_email(), IN_TIME_S)).concerns == "sender"


@pytest.mark.parametrize("turn", [enter_sandbox, pause, revoke_key, forbid_sending])
async def test_account_that_may_not_send_may_not_send_for_anybody(
    turn: Callable[[SESAccount], None],
) -> None:
    async with running_ses() as ses:
        turn(ses.simulator.account)
        assert (await ses.provider.send(make_email(), IN_TIME_S)).concerns == "account"


async def test_daily_quota_asks_for_a_longer_pause_than_the_sending_rate() -> None:
    async with running_ses() as ses:
        use_up_rate(ses.simulator.account)
        assert (await ses.provider.send(make_email(), IN_TIME_S)).pause_s is None
        use_up_quota(ses.simulator.account)
        assert (await ses.provider.send(make_email(), IN_TIME_S)).pause_s == 600


async def test_account_whose_key_is_revoked_between_two_emails_is_suspended_and_recovers() -> None:
    async with running_ses() as ses:
        secrets = ses.simulator.account.secrets
        outcomes = [outcome(await ses.provider.send(make_email(), IN_TIME_S))]
        ses.simulator.account.secrets = {}
        outcomes.append(outcome(await ses.provider.send(make_email(), IN_TIME_S)))
        ses.simulator.account.secrets = secrets
        outcomes.append(outcome(await ses.provider.send(make_email(), IN_TIME_S)))
        assert outcomes == [Outcome.ACCEPTED, Outcome.SUSPENDED, Outcome.ACCEPTED]
        assert len(ses.simulator.messages) == 2


@pytest.mark.parametrize(("minutes", "word"), [(-20, "ahead of"), (20, "behind")])
async def test_clock_that_is_wrong_is_named_with_its_error(minutes: int, word: str) -> None:
    async with running_ses() as ses:
        now = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
        refusal = answer(
            403, "InvalidSignatureException", "Signature expired", Date=f"{now:%a, %d %b %Y %T} GMT"
        )
        (entry,) = (await send_with(ses, refusal)).recipients
        assert entry.outcome is Outcome.SUSPENDED
        assert word in entry.detail
        assert "NTP" in entry.detail


async def test_clock_that_is_right_leaves_the_secret_to_blame() -> None:
    async with running_ses() as ses:
        change_secret(ses.simulator.account)
        (entry,) = (await ses.provider.send(make_email(), IN_TIME_S)).recipients
        assert "check the secret access key" in entry.detail


@pytest.mark.parametrize("status", [200, 302, 307, 400, 403, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", b"<html><body>Bad gateway", b'"ServiceUnavailable"', b"{}"])
async def test_answer_that_is_not_of_ses_is_ambiguous(status: int, body: bytes) -> None:
    async with running_ses() as ses:
        elsewhere = {"Location": f"{ses.simulator.url}/elsewhere"}
        fault = HTTPFault(action="answer", status=status, body=body, headers=elsewhere)
        result = await send_with(ses, fault)
        assert outcome(result) is Outcome.AMBIGUOUS
        assert result.recipients[0].reply_code == status
        assert result.provider_message_id is None


@pytest.mark.parametrize("body", [b"", b"<html><body>Too many requests", b"{}"])
async def test_too_many_requests_is_a_statement_in_any_form(body: bytes) -> None:
    async with running_ses() as ses:
        result = await send_with(ses, HTTPFault(action="answer", status=429, body=body))
        assert (outcome(result), result.concerns) == (Outcome.THROTTLED, "account")


async def test_rate_header_of_whatever_stands_before_ses_is_passed_on() -> None:
    async with running_ses() as ses:
        slow = answer(429, "TooManyRequestsException", "Slow down", Retry_After="7")
        (entry,) = (await send_with(ses, slow)).recipients
        assert (entry.outcome, entry.retry_after_s) == (Outcome.THROTTLED, 7.0)


@pytest.mark.parametrize(
    ("action", "taken"),
    [
        ("reset_before", 0),
        ("reset_after", 0),
        ("drop", 1),
        ("cut", 1),
        ("garbage", 1),
        ("hang", 1),
    ],
)
@pytest.mark.parametrize("is_kept", [False, True], ids=["new", "kept"])
async def test_silence_after_the_request_left_is_ambiguous_and_repeated_by_nobody(
    action: HTTPFaultAction, taken: int, is_kept: bool
) -> None:
    async with running_ses() as ses:
        if is_kept:
            await ses.provider.send(make_email(), IN_TIME_S)
            ses.simulator.messages.clear()
        fault = HTTPFault(action=action)
        timeout_s = SHORT_S if action == "hang" else IN_TIME_S
        result = await send_with(ses, fault, timeout_s=timeout_s)
        assert outcome(result) is Outcome.AMBIGUOUS
        assert result.phase == "http"
        assert result.evidence["silence"] == ("timeout" if action == "hang" else "reset")
        assert len(ses.simulator.messages) == taken


async def test_stated_failure_of_ses_is_not_repeated_by_the_sdk() -> None:
    async with running_ses() as ses:
        once = answer(500, "InternalFailure", "Sorry.")
        once.times = 1
        assert outcome(await send_with(ses, once)) is Outcome.UNAVAILABLE
        assert once.times == 0
        assert ses.simulator.messages == []


async def test_refused_connection_is_unavailable_because_nothing_left() -> None:
    async with running_ses() as ses:
        await ses.simulator.stop()
        result = await ses.provider.send(make_email(), IN_TIME_S)
        assert outcome(result) is Outcome.UNAVAILABLE
        assert (result.phase, result.evidence) == ("connect", {"silence": "unreachable"})
        await ses.simulator.start()


async def test_connection_that_nobody_accepts_is_unavailable_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        # Fills the queue, so that further connections are left waiting.
        with socket.create_connection(("127.0.0.1", port)):
            async with running_ses(endpoint=f"https://127.0.0.1:{port}") as ses:
                result = await ses.provider.send(make_email(), SHORT_S)
    assert outcome(result) is Outcome.UNAVAILABLE
    assert result.phase == "connect"


async def test_peer_that_speaks_no_tls_is_unavailable() -> None:
    async with running_ses() as plain:
        endpoint = plain.simulator.url.replace("http:", "https:")
        async with running_ses(endpoint=endpoint) as ses:
            result = await ses.provider.send(make_email(), IN_TIME_S)
    assert outcome(result) is Outcome.UNAVAILABLE
    assert result.phase == "connect"


async def test_missing_credentials_are_found_once_they_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    async with running_ses(access_key_id=None, secret_access_key=None) as ses:
        result = await ses.provider.send(make_email(), IN_TIME_S)
        assert outcome(result) is Outcome.SUSPENDED
        assert result.recipients[0].reply_code is None
        assert (result.phase, result.evidence) == ("connect", {"error": "NoCredentialsError"})
        ((key_id, secret),) = ses.simulator.account.secrets.items()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        assert outcome(await ses.provider.send(make_email(), IN_TIME_S)) is Outcome.ACCEPTED


async def test_no_connection_is_left_open_by_a_provider_that_is_closed() -> None:
    async with running_ses() as ses:
        await asyncio.gather(*(ses.provider.send(make_email(), IN_TIME_S) for _ in range(8)))
        await ses.provider.close()
        # A session that was not closed is a ResourceWarning, which fails the run.
        assert len(ses.simulator.messages) == 8
