"""One message survives the loss of a provider, and is not sent twice because somebody guessed."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from tallypost_core.object_store import FolderStore
from tallypost_providers.base import same_for_all
from tallypost_providers.types import Outcome, OutgoingEmail, RecipientResult, SendResult
from tallypost_resilience.circuit import BreakerConfig
from tests.integration.queue.harness import Harness
from tests.integration.worker.loops import Answer, FakeProvider, running_loop, says, until
from tests.support.database import SeededTenant

FAILS_OVER = [Outcome.THROTTLED, Outcome.SUSPENDED, Outcome.UNAVAILABLE]
STAYS = [Outcome.DEFERRED, Outcome.AMBIGUOUS]


def second(*outcomes: Outcome) -> FakeProvider:
    """Another account, which takes everything unless told otherwise."""
    provider = FakeProvider(*(says(outcome) for outcome in outcomes or [Outcome.ACCEPTED]))
    provider.account = "second"
    return provider


async def accounts_of(queue: Harness, tenant: SeededTenant) -> list[tuple[str, str, int]]:
    """Account, outcome and round of each attempt."""
    rows = await queue.fetch(tenant, "SELECT account, outcome, attempt FROM attempts ORDER BY id")
    return [(row["account"], row["outcome"], row["attempt"]) for row in rows]


async def deliver(
    queue: Harness, tenant: SeededTenant, folder: Path, *providers: FakeProvider
) -> None:
    async def is_done() -> bool:
        return not await queue.fetch(tenant, "SELECT 1 FROM send_queue WHERE state <> 'ambiguous'")

    url = queue.database.url("tp_deliver")
    async with running_loop(url, providers[0], FolderStore(folder), others=providers[1:]):
        await until(is_done)


@pytest.mark.parametrize("outcome", FAILS_OVER)
async def test_email_that_was_not_taken_goes_to_the_next_account_in_the_same_round(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, outcome: Outcome
) -> None:
    (email_id,) = await queue.add(tenant)
    first, other = FakeProvider(says(outcome)), second()
    await deliver(queue, tenant, tmp_path, first, other)
    assert await accounts_of(queue, tenant) == [
        ("fake", outcome.value, 1),
        ("second", "accepted", 1),
    ]
    assert set((await queue.statuses(tenant, email_id)).values()) == {"sent"}
    assert await queue.billed(tenant, email_id) == 1
    assert (len(first.handovers), len(other.handovers)) == (1, 1)


@pytest.mark.parametrize("outcome", STAYS)
async def test_email_that_may_have_left_or_is_asked_to_wait_does_not_move_in_its_round(
    queue: Harness, tenant: SeededTenant, tmp_path: Path, outcome: Outcome
) -> None:
    await queue.add(tenant)
    first, other = FakeProvider(says(outcome), says(Outcome.ACCEPTED)), second()
    await deliver(queue, tenant, tmp_path, first, other)
    assert await accounts_of(queue, tenant) == [("fake", outcome.value, 1), ("fake", "accepted", 2)]
    assert other.handovers == []


async def test_silent_handover_of_bulk_mail_is_left_to_a_person(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await queue.add_bulk(tenant)
    first, other = FakeProvider(says(Outcome.AMBIGUOUS)), second()
    await deliver(queue, tenant, tmp_path, first, other)
    assert set((await queue.statuses(tenant, email_id)).values()) == {"unconfirmed"}
    assert other.handovers == []


async def test_refused_recipient_is_refused_by_one_account_only(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await queue.add(tenant)
    first, other = FakeProvider(says(Outcome.REJECTED)), second()
    await deliver(queue, tenant, tmp_path, first, other)
    assert set((await queue.statuses(tenant, email_id)).values()) == {"bounced"}
    assert other.handovers == []


async def test_only_those_who_were_not_taken_go_to_the_next_account(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    def half(email: OutgoingEmail) -> SendResult:
        taken, *others = email.recipients
        return SendResult(
            recipients=(
                RecipientResult(recipient_id=taken.recipient_id, outcome=Outcome.ACCEPTED),
                *(
                    RecipientResult(recipient_id=to.recipient_id, outcome=Outcome.UNAVAILABLE)
                    for to in others
                ),
            ),
            phase="rcpt",
        )

    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test", "c@r.test"])
    first, other = FakeProvider(half), second()
    await deliver(queue, tenant, tmp_path, first, other)
    assert [len(email.recipients) for email in other.handovers] == [2]
    assert set((await queue.statuses(tenant, email_id)).values()) == {"sent"}
    assert await queue.billed(tenant, email_id) == 3


async def test_when_no_account_takes_it_the_next_round_waits_and_counts(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    await queue.add(tenant)
    first = FakeProvider(says(Outcome.UNAVAILABLE), says(Outcome.ACCEPTED))
    other = second(Outcome.UNAVAILABLE)
    await deliver(queue, tenant, tmp_path, first, other)
    assert await accounts_of(queue, tenant) == [
        ("fake", "unavailable", 1),
        ("second", "unavailable", 1),
        ("fake", "accepted", 2),
    ]


async def test_failing_over_uses_up_no_attempts(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await queue.add(tenant)
    down = [FakeProvider(says(Outcome.UNAVAILABLE)), second(Outcome.UNAVAILABLE)]
    await deliver(queue, tenant, tmp_path, *down)
    rounds = [number for _, _, number in await accounts_of(queue, tenant)]
    # Three retries are the policy of these tests.
    assert rounds == [1, 1, 2, 2, 3, 3, 4, 4]
    assert set((await queue.statuses(tenant, email_id)).values()) == {"failed"}


async def test_account_that_is_down_is_passed_over_without_being_asked(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant, tmp_path: Path
) -> None:
    down, other = FakeProvider(says(Outcome.SUSPENDED)), second()
    await queue.add(tenant, 20)
    await queue.add(other_tenant, 20)

    async def is_done() -> bool:
        left = [await queue.fetch(t, "SELECT 1 FROM send_queue") for t in (tenant, other_tenant)]
        return left == [[], []]

    url = queue.database.url("tp_deliver")
    breaker = BreakerConfig(min_calls=5, open_s=30)
    async with running_loop(
        url, down, FolderStore(tmp_path), others=[other], breaker=breaker, concurrency=1
    ):
        await until(is_done)
    assert len(down.handovers) == 1
    assert len(other.handovers) == 40


async def test_mail_waits_uncounted_while_every_account_is_down(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    answers = [says(Outcome.SUSPENDED)] * 3 + [says(Outcome.ACCEPTED)]
    provider = FakeProvider(*answers)
    (email_id,) = await queue.add(tenant)

    async def is_sent() -> bool:
        return set((await queue.statuses(tenant, email_id)).values()) == {"sent"}

    url = queue.database.url("tp_deliver")
    breaker = BreakerConfig(min_calls=5, open_s=0.3)
    async with running_loop(url, provider, FolderStore(tmp_path), breaker=breaker):
        await until(is_sent)
    assert [number for _, _, number in await accounts_of(queue, tenant)] == [1, 2, 3, 4]
    assert len(provider.handovers) == 4


async def test_email_that_was_taken_by_half_never_goes_where_the_envelope_is_not_kept(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    def half(email: OutgoingEmail) -> SendResult:
        result = same_for_all(email, Outcome.UNAVAILABLE, phase="rcpt")
        taken = RecipientResult(
            recipient_id=email.recipients[0].recipient_id, outcome=Outcome.ACCEPTED
        )
        return SendResult(recipients=(taken, *result.recipients[1:]), phase="rcpt")

    first = FakeProvider(half, says(Outcome.ACCEPTED))
    rough = second()
    rough.capabilities = replace(rough.capabilities, keeps_envelope=False)
    await queue.add(tenant, to=["a@r.test", "b@r.test"])
    await deliver(queue, tenant, tmp_path, first, rough)
    assert rough.handovers == []
    assert [len(email.recipients) for email in first.handovers] == [2, 1]


async def test_email_that_an_account_takes_in_no_case_goes_to_another_unasked(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    await queue.add(tenant)
    first, other = FakeProvider(), second()
    first.obstacle = "too large for it"
    await deliver(queue, tenant, tmp_path, first, other)
    assert await accounts_of(queue, tenant) == [("second", "accepted", 1)]
    assert first.handovers == []


async def test_email_that_no_account_takes_is_refused_by_the_first(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await queue.add(tenant)
    first, other = FakeProvider(says(Outcome.REJECTED)), second()
    first.obstacle = other.obstacle = "too large for it"
    await deliver(queue, tenant, tmp_path, first, other)
    assert await accounts_of(queue, tenant) == [("fake", "rejected", 1)]
    assert set((await queue.statuses(tenant, email_id)).values()) == {"bounced"}


class Forgetful(FakeProvider):
    """A plugin whose `find_obstacle` is broken, while the rest of it is not."""

    def find_obstacle(self, _email: OutgoingEmail) -> str | None:
        """Break as a programming error does."""
        raise KeyError("no such header")


async def test_account_that_breaks_over_obstacles_is_asked_all_the_same_and_logged_once(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    provider = Forgetful(says(Outcome.ACCEPTED))
    await queue.add(tenant, 2)
    await queue.add(other_tenant, 2)

    async def is_done() -> bool:
        left = [await queue.fetch(t, "SELECT 1 FROM send_queue") for t in (tenant, other_tenant)]
        return left == [[], []]

    url = queue.database.url("tp_deliver")
    async with running_loop(url, provider, FolderStore(tmp_path)):
        await until(is_done)
    for owner in (tenant, other_tenant):
        assert await accounts_of(queue, owner) == [("fake", "accepted", 1)] * 2
    assert capsys.readouterr().out.count("delivery.find_obstacle_crashed") == 1


async def test_second_account_costs_a_healthy_first_one_nothing(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    await queue.add(tenant, 40)
    first, other = FakeProvider(), second()
    first.takes_s = 0.05
    await deliver(queue, tenant, tmp_path, first, other)
    assert len(first.handovers) == 40
    assert other.handovers == []
    # Each was claimed once and handed over then: none was put off for want of a place.
    rows = await queue.fetch(tenant, "SELECT DISTINCT fence FROM attempts")
    assert [row["fence"] for row in rows] == [1]


async def test_email_that_fails_over_keeps_its_turn(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    asked: list[str] = []

    def says_and_notes(name: str, outcome: Outcome) -> Answer:
        def answer(email: OutgoingEmail) -> SendResult:
            asked.append(name)
            return same_for_all(email, outcome, phase="connect")

        return answer

    first = FakeProvider(says_and_notes("first", Outcome.UNAVAILABLE))
    other = FakeProvider(says_and_notes("second", Outcome.ACCEPTED))
    other.account = "second"
    await queue.add(tenant, 60)
    await deliver(queue, tenant, tmp_path, first, other)
    assert (asked.count("first"), asked.count("second")) == (60, 60)
    # Not behind everybody else who is waiting.
    assert asked.index("second") < 30


async def test_what_a_stream_lets_be_sent_again_goes_to_whoever_may_be_asked_by_then(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    (email_id,) = await queue.add(tenant)
    silent, other = FakeProvider(says(Outcome.AMBIGUOUS)), second()

    async def is_sent() -> bool:
        return set((await queue.statuses(tenant, email_id)).values()) == {"sent"}

    url = queue.database.url("tp_deliver")
    breaker = BreakerConfig(min_calls=1, open_s=30)
    async with running_loop(url, silent, FolderStore(tmp_path), others=[other], breaker=breaker):
        await until(is_sent)
    assert await accounts_of(queue, tenant) == [("fake", "ambiguous", 1), ("second", "accepted", 2)]
    # It stays listed as one that may have come twice.
    assert "email.unconfirmed" in await queue.events(tenant, email_id)


async def test_email_that_no_account_may_have_ends_as_a_dead_letter_with_its_reason(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    def half(email: OutgoingEmail) -> SendResult:
        result = same_for_all(email, Outcome.UNAVAILABLE, phase="rcpt")
        taken = RecipientResult(
            recipient_id=email.recipients[0].recipient_id, outcome=Outcome.ACCEPTED
        )
        return SendResult(recipients=(taken, *result.recipients[1:]), phase="rcpt")

    rough = FakeProvider(half)
    rough.capabilities = replace(rough.capabilities, keeps_envelope=False)
    (email_id,) = await queue.add(tenant, to=["a@r.test", "b@r.test"])
    await deliver(queue, tenant, tmp_path, rough)
    statuses = await queue.statuses(tenant, email_id)
    assert sorted((statuses["a"], statuses["b"])) == ["failed", "sent"]
    rows = await queue.fetch(tenant, "SELECT cause FROM dead_letters")
    assert [row["cause"] for row in rows] == ["envelope_not_kept"]


async def test_hidden_recipient_who_is_settled_keeps_no_account_from_the_others(
    queue: Harness, tenant: SeededTenant, tmp_path: Path
) -> None:
    def settles_the_hidden(email: OutgoingEmail) -> SendResult:
        return SendResult(
            recipients=tuple(
                RecipientResult(
                    recipient_id=to.recipient_id,
                    outcome=Outcome.REJECTED if to.kind == "bcc" else Outcome.THROTTLED,
                )
                for to in email.recipients
            ),
            phase="http",
        )

    rough = FakeProvider(settles_the_hidden, says(Outcome.ACCEPTED))
    rough.capabilities = replace(rough.capabilities, keeps_envelope=False)
    (email_id,) = await queue.add(tenant, to=["a@r.test"], bcc=["b@r.test"])
    await deliver(queue, tenant, tmp_path, rough)
    statuses = await queue.statuses(tenant, email_id)
    assert (statuses["a"], statuses["b"]) == ("sent", "bounced")
