"""When a provider is asked about an email, and what becomes of the email then."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast
from uuid import UUID

import pytest
from msgspec import Struct
from msgspec.structs import replace

from tallypost_core.clock import utc_now
from tallypost_core.ids import new_id
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.emails.lifecycle import RecipientEvent, RecipientStatus
from tallypost_domain.queue.loading import LoadedEmail, Silence
from tallypost_domain.queue.types import Claim, Settlement
from tallypost_providers.base import same_for_all
from tallypost_providers.errors import LookUpFailed, LookUpRefused, ProviderBusy
from tallypost_providers.look_ups import FoundMessage
from tallypost_providers.types import Capabilities, Outcome, Provider
from tallypost_worker.look_ups import MOST_AT_ONCE, MOST_IN_ALL, LookUps, LookUpWaits
from tallypost_worker.recorder import Recorder
from tallypost_worker.tenant_routes import AccountNotUsable, RouteBook
from tests.unit.providers.emails import make_email

WAITS = LookUpWaits(first_s=60, again_s=120, window_s=300, patience_s=3600, pause_s=30, spread_s=0)
ADA, EVE = new_id(), new_id()
ADDRESSES = {ADA: "ada@example.net", EVE: "eve@example.net"}
Answer = tuple[FoundMessage, ...] | Exception


class Account:
    """An account that can be asked, and gives one answer for ever."""

    name = "sample"
    capabilities = Capabilities(
        raw_mime=True,
        keeps_message_id=True,
        keeps_envelope=True,
        signs_dkim=True,
        idempotent=False,
        lookup=True,
        events=False,
        reaches_outside=True,
    )

    def __init__(self, answer: Answer = (), account: str = "ours", *, lookup: bool = True) -> None:
        self.account = account
        self.answer = answer
        self.capabilities = replace(type(self).capabilities, lookup=lookup)
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def look_up(self, _email_id: UUID) -> tuple[FoundMessage, ...]:
        """Answer once the gate is open."""
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Book:
    """The accounts of one tenant, and what keeps them from being asked."""

    def __init__(self, tenant_id: UUID, *accounts: Account) -> None:
        self._tenant_id = tenant_id
        self.accounts = {account.account: account for account in accounts}
        self.unusable: set[str] = set()
        self.is_away = False

    @asynccontextmanager
    async def opened(self, tenant_id: UUID, account: str) -> AsyncIterator[Provider | None]:
        """An account of the tenant."""
        if self.is_away:
            raise DatabaseUnavailable
        if account in self.unusable:
            raise AccountNotUsable
        mine: Mapping[str, Account] = self.accounts if tenant_id == self._tenant_id else {}
        yield cast("Provider | None", mine.get(account))


class Stage:
    """Look-ups whose clock the test turns, and what they gave to the recorder."""

    def __init__(self, *accounts: Account) -> None:
        self.tenant_id = new_id()
        self.now_s = 0.0
        self.recorded: list[Settlement] = []
        self.book = Book(self.tenant_id, *accounts)
        self.look_ups = LookUps(
            new_id(),
            cast("RouteBook", self.book),
            cast("Recorder", self),
            WAITS,
            clock_s=lambda: self.now_s,
        )

    def record(self, settlement: Settlement) -> None:
        """As the recorder does."""
        self.recorded.append(settlement)

    async def settle(self, email: LoadedEmail) -> Settlement:
        """What became of an email that was to be looked up."""
        assert await self.look_ups.settle(email)
        return self.recorded.pop()

    def email(
        self, age_s: float = 60, account: str = "ours", hold_reason: str | None = None
    ) -> LoadedEmail:
        """An email of the tenant to Ada and Eve, about which an account was silent for so long."""
        silence = Silence(provider="sample", account=account, age_s=age_s, recipients=ADDRESSES)
        return make_loaded(self.tenant_id, silence, hold_reason)


def make_loaded(
    tenant_id: UUID, silence: Silence | None, hold_reason: str | None = None
) -> LoadedEmail:
    return LoadedEmail(
        claim=Claim(tenant_id, new_id(), "transactional", fence=2, attempt=1),
        mode="live",
        domain_id=new_id(),
        from_header="a@example.com",
        from_address="a@example.com",
        to=(),
        cc=(),
        reply_to=(),
        subject="",
        headers={},
        tags=(),
        size_bytes=1,
        content=None,
        created_at=utc_now(),
        recipients=(),
        on_unconfirmed="hold",
        status=RecipientStatus.UNCONFIRMED,
        statuses=dict.fromkeys(ADDRESSES, RecipientStatus.UNCONFIRMED),
        hold_reason=hold_reason,
        silence=silence,
    )


def _older(email: LoadedEmail, by_s: float) -> LoadedEmail:
    """The email when it is loaded again, by_s later."""
    assert email.silence is not None
    return replace(email, silence=replace(email.silence, age_s=email.silence.age_s + by_s))


def message(address: str) -> FoundMessage:
    return FoundMessage(address, f"id of {address}", "processed")


class Row(Struct, frozen=True):
    """What a provider answers about an email of an age, and what goes on record."""

    name: str
    answer: Answer
    age_s: float
    outcomes: str = ""
    """Of Ada and of Eve, by their first letters; a dash is nothing, and no attempt where both."""
    again_in_s: float | None = None
    detail: str = ""
    """What is said of Eve."""


BOTH = (message("ada@example.net"), message("EVE@example.net"))
ONE = (message("ada@example.net"),)
STRANGER = (message("bob@example.net"),)
TABLE = [
    Row("both found", BOTH, 60, "aa", None, "found when the provider was asked: processed"),
    Row("both found, late", BOTH, 9000, "aa"),
    Row("one found, too early for the other", ONE, 60, "a-", 120),
    Row("one found, and the window closes soon", ONE, 250, "a-", 50),
    Row("one found, too late for the other", ONE, 300, "a?", None, "not found when"),
    Row("none found, too early", (), 60, "--", 120),
    Row("none found, and the window closes soon", (), 299, "--", 1),
    Row("none found, too late", (), 300, "??", None, "not found when"),
    Row("somebody else found", STRANGER, 300, "??", None, "not found when"),
    Row("failed", LookUpFailed(), 60, "--", 30),
    Row("failed when the window is over", LookUpFailed(), 3599, "--", 30),
    Row("failed when first asked, late", LookUpFailed(), 9000, "--", 30),
    Row("asked to wait", LookUpFailed(retry_after_s=90), 60, "--", 90),
    Row("asked to wait for too long", LookUpFailed(retry_after_s=9000), 60, "--", 600),
    Row("refused", LookUpRefused("No such add-on."), 60, "??", None, "No such add-on."),
    Row("busy", ProviderBusy(), 60, "--", 0),
    Row("broken", KeyError("x"), 60, "--", 30),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
async def test_answer_settles_what_it_proves(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    # Half the age, which would be drawn from.
    monkeypatch.setattr("random.uniform", lambda least, _most: least)
    stage = Stage(Account(row.answer))
    settlement = await stage.settle(stage.email(row.age_s))
    assert settlement.look_up_in_s == row.again_in_s
    events = {change.recipient_id: change for change in settlement.changes}
    letters = {"accepted": "a", "unconfirmed": "?"}
    told = [letters[events[id_].event] if id_ in events else "-" for id_ in (ADA, EVE)]
    assert "".join(told) == row.outcomes
    assert (settlement.attempt is None) == (row.outcomes == "--")
    if settlement.attempt is not None:
        assert (settlement.attempt.phase, settlement.attempt.account) == ("lookup", "ours")
        assert settlement.attempt.number == 1
        is_proof = "a" in row.outcomes
        assert settlement.only_if_current is not is_proof
        wanted = Outcome.AMBIGUOUS if "?" in row.outcomes else Outcome.ACCEPTED
        assert settlement.attempt.outcome is wanted
    assert row.detail in (events[EVE].detail or "" if EVE in events else "")


async def test_each_recipient_gets_the_id_of_its_own_message() -> None:
    stage = Stage(Account(ONE))
    settlement = await stage.settle(stage.email(300))
    ids = {change.recipient_id: change.provider_message_id for change in settlement.changes}
    assert ids == {ADA: "id of ada@example.net", EVE: None}


async def test_account_is_left_alone_for_as_long_as_it_asked_and_not_longer() -> None:
    account, other = Account(LookUpFailed(retry_after_s=90)), Account((), "other")
    stage = Stage(account, other)
    await stage.settle(stage.email())
    stage.now_s = 50.0
    settlement = await stage.settle(stage.email(0))
    assert (settlement.attempt, settlement.look_up_in_s, account.asked) == (None, 40, 1)
    await stage.settle(stage.email(account="other"))
    assert other.asked == 1
    stage.now_s = 91.0
    await stage.settle(stage.email())
    assert account.asked == 2


async def test_refusal_counts_for_all_emails_until_the_account_is_asked_again() -> None:
    account = Account(LookUpRefused("No such add-on."))
    stage = Stage(account)
    for _ in range(3):
        settlement = await stage.settle(stage.email())
        assert {change.detail for change in settlement.changes} == {"No such add-on."}
    assert account.asked == 1
    stage.now_s, account.answer = 31.0, BOTH
    assert (await stage.settle(stage.email())).attempt is not None
    assert account.asked == 2


async def test_few_look_ups_of_an_account_and_of_all_run_at_once() -> None:
    accounts = [Account(BOTH, f"account {number}") for number in range(MOST_IN_ALL)]
    for account in accounts:
        account.gate.clear()
    stage = Stage(*accounts)
    tasks = [
        asyncio.create_task(stage.look_ups.settle(stage.email(0, account.account)))
        for account in accounts
        for _ in range(MOST_AT_ONCE + 1)
    ]
    while sum(task.done() for task in tasks) < len(tasks) - MOST_IN_ALL:  # noqa: ASYNC110 - tasks
        await asyncio.sleep(0)
    asked = [account.asked for account in accounts]
    assert (max(asked), sum(asked)) == (MOST_AT_ONCE, MOST_IN_ALL)
    assert all(settlement.attempt is None for settlement in stage.recorded)
    for account in accounts:
        account.gate.set()
    await asyncio.gather(*tasks)
    assert sum(settlement.attempt is not None for settlement in stage.recorded) == MOST_IN_ALL


async def test_email_that_got_an_answer_or_is_held_is_not_looked_up() -> None:
    account = Account()
    stage = Stage(account)
    assert not await stage.look_ups.settle(make_loaded(stage.tenant_id, None))
    assert not await stage.look_ups.settle(stage.email(hold_reason="tenant_not_active"))
    assert (stage.recorded, account.asked) == ([], 0)


async def test_tenant_cannot_have_anothers_account_asked() -> None:
    account = Account(BOTH)
    stage = Stage(account)
    silence = Silence(provider="sample", account="ours", age_s=60, recipients=ADDRESSES)
    settlement = await stage.settle(make_loaded(new_id(), silence))
    assert account.asked == 0
    assert {change.detail for change in settlement.changes} == {
        "the account that was silent cannot be asked any more"
    }


@pytest.mark.parametrize("age_s", [0, 60, 4000, 1e6])
async def test_nothing_is_concluded_while_the_accounts_are_not_known(age_s: float) -> None:
    stage = Stage(Account(BOTH))
    stage.book.is_away = True
    email = stage.email(age_s)
    for _ in range(3):
        settlement = await stage.settle(email)
        assert (settlement.attempt, settlement.changes) == (None, ())
        assert settlement.look_up_in_s is not None
        stage.now_s += 4000
    stage.book.is_away = False
    settlement = await stage.settle(email)
    assert {change.event for change in settlement.changes} == {RecipientEvent.ACCEPTED}


@pytest.mark.parametrize("obstacle", ["pause", "place", "busy"])
async def test_silence_of_any_age_waits_for_the_question_that_is_not_put(obstacle: str) -> None:
    account = Account(BOTH)
    stage = Stage(account)
    under_way = []
    if obstacle == "pause":
        account.answer = LookUpFailed(retry_after_s=600)
        await stage.settle(stage.email())
    elif obstacle == "busy":
        account.answer = ProviderBusy()
    else:
        account.gate.clear()
        under_way = [
            asyncio.create_task(stage.look_ups.settle(stage.email())) for _ in range(MOST_AT_ONCE)
        ]
        await asyncio.sleep(0)
    for _ in range(3):
        settlement = await stage.settle(stage.email(1e6))
        assert (settlement.attempt, settlement.changes) == (None, ())
        assert settlement.look_up_in_s is not None
        # Not for half of a long outage.
        assert settlement.look_up_in_s <= 600 + WAITS.patience_s / 2
    account.answer = BOTH
    account.gate.set()
    await asyncio.gather(*under_way)
    stage.now_s += 600
    assert (await stage.settle(stage.email(1e6))).attempt is not None


@pytest.mark.parametrize("failure", [LookUpFailed(), KeyError("x")])
async def test_patience_is_counted_from_the_first_question_that_failed(failure: Exception) -> None:
    account = Account(failure)
    stage = Stage(account)
    stage.now_s = 1e5
    email = stage.email(9000)
    assert (await stage.settle(email)).attempt is None
    # Another email's failures are not this one's.
    stage.now_s += 40
    assert (await stage.settle(stage.email(9000))).attempt is None
    stage.now_s += 3559
    assert (await stage.settle(_older(email, 3599))).attempt is None
    stage.now_s += 31
    settlement = await stage.settle(_older(email, 3630))
    details = {change.detail for change in settlement.changes}
    assert details == {"the provider was asked and did not tell in time"}
    assert account.asked == 4


async def test_silence_that_is_too_old_is_not_waited_for_whoever_asked_before() -> None:
    account = Account(LookUpFailed())
    # Each time another process asks, which knows nothing of those before.
    for age_s in (3600, WAITS.longest_s - 1):
        stage = Stage(account)
        assert (await stage.settle(stage.email(age_s))).attempt is None
    stage = Stage(account)
    settlement = await stage.settle(stage.email(WAITS.longest_s))
    details = {change.detail for change in settlement.changes}
    assert details == {"the provider was asked and did not tell in time"}
    # Whoever says when to ask again is not down, and whoever cannot be opened was not asked.
    account.answer = LookUpFailed(retry_after_s=90)
    stage = Stage(account)
    assert (await stage.settle(stage.email(WAITS.longest_s))).attempt is None
    stage = Stage(account)
    stage.book.unusable.add("ours")
    assert (await stage.settle(stage.email(WAITS.longest_s))).attempt is None


async def test_look_up_says_whether_anybody_was_asked() -> None:
    account = Account(LookUpRefused("No such add-on."))
    stage = Stage(account)
    told = []
    for email in (stage.email(), stage.email(), stage.email(account="gone")):
        attempt = (await stage.settle(email)).attempt
        assert attempt is not None
        told.append(attempt.evidence.get("asked"))
    stage.now_s = 31.0
    stage.book.unusable.add("ours")
    email = stage.email()
    await stage.settle(email)
    stage.now_s += WAITS.patience_s
    attempt = (await stage.settle(_older(email, WAITS.patience_s))).attempt
    assert attempt is not None
    told.append(attempt.evidence.get("asked"))
    assert told == [None, "no", "no", "no"]
    assert account.asked == 1


async def test_answer_and_a_later_silence_begin_the_patience_anew() -> None:
    account = Account(LookUpFailed())
    stage = Stage(account)
    email = stage.email(60)
    assert (await stage.settle(email)).attempt is None
    # The same email was sent again, and was silent again.
    stage.now_s = 4000
    assert (await stage.settle(_older(email, 0))).attempt is None
    stage.now_s, account.answer = 4100, ()
    assert (await stage.settle(_older(email, 100))).attempt is None
    stage.now_s, account.answer = 7700, LookUpFailed()
    assert (await stage.settle(_older(email, 3700))).attempt is None


async def test_account_that_cannot_be_opened_is_waited_for_and_not_without_end() -> None:
    account = Account(BOTH)
    stage = Stage(account)
    stage.book.unusable.add("ours")
    email, another = stage.email(9000), stage.email(9000)
    for each in (email, another):
        settlement = await stage.settle(each)
        assert (settlement.attempt, settlement.changes) == (None, ())
        assert (settlement.look_up_in_s or 0) >= WAITS.pause_s
    stage.now_s = 3600
    settlement = await stage.settle(_older(email, 3600))
    details = {change.detail for change in settlement.changes}
    assert details == {"the account that was silent could not be opened to be asked"}
    stage.book.unusable.clear()
    settlement = await stage.settle(_older(another, 3600))
    assert {change.event for change in settlement.changes} == {RecipientEvent.ACCEPTED}


@pytest.mark.parametrize("accounts", [(), (Account(BOTH, lookup=False),)])
async def test_account_that_is_gone_or_cannot_be_asked_is_not_waited_for(
    accounts: tuple[Account, ...],
) -> None:
    settlement = await (stage := Stage(*accounts)).settle(stage.email())
    assert {change.detail for change in settlement.changes} == {
        "the account that was silent cannot be asked any more"
    }
    assert [account.asked for account in accounts] == [0] * len(accounts)


async def test_accounts_that_were_asked_leave_nothing_behind() -> None:
    answers: list[Answer] = [BOTH, (), LookUpFailed(), LookUpRefused("No."), ProviderBusy()]
    accounts = [Account(answer, f"account {n}") for n, answer in enumerate(answers * 20)]
    stage = Stage(*accounts)
    for account in accounts:
        await stage.settle(stage.email(account=account.account))
    assert len(stage.look_ups._under_way) == 0
    stage.now_s += 601
    await stage.settle(stage.email(account="account 2"))
    assert [*stage.look_ups._pauses] == ["account 2"]


@pytest.mark.parametrize(("outcome", "wait_s"), [(Outcome.AMBIGUOUS, 60), (Outcome.ACCEPTED, None)])
def test_only_a_silence_is_looked_up(outcome: Outcome, wait_s: float | None) -> None:
    stage, provider = Stage(), cast("Provider", Account())
    result = same_for_all(make_email(), outcome, phase="final")
    assert stage.look_ups.first_wait_s(provider, result) == wait_s
