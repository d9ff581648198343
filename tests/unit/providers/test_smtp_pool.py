"""Places in the pool of SMTP connections are never lost."""

import asyncio

import pytest

from tallypost_providers import smtp_deadlines
from tallypost_providers.errors import ProviderBusy
from tallypost_providers.smtp_connection import SMTPConnection
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped, Phase, Silence
from tallypost_providers.smtp_pool import SMTPPool
from tallypost_resilience.breaker import judge_error
from tallypost_resilience.circuit import Verdict

IN_TIME_S = 10.0
NO_TIME_S = 0.05


async def refuse(budget: Budget) -> SMTPConnection:
    raise HandoverStopped("connect", Silence.REFUSED)


async def take_place(pool: SMTPPool, timeout_s: float = IN_TIME_S) -> None:
    with await pool.lease(Budget(timeout_s)):
        pass


async def test_place_given_to_a_caller_that_was_cancelled_goes_to_the_next() -> None:
    pool = SMTPPool(refuse, 1)
    with await pool.lease(Budget(IN_TIME_S)):
        waiting = asyncio.create_task(take_place(pool))
        await asyncio.sleep(0)
    # Its place was handed to it just now, and it has not run since.
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await take_place(pool)


async def test_place_that_was_never_given_is_not_given_back() -> None:
    pool = SMTPPool(refuse, 1)
    with await pool.lease(Budget(IN_TIME_S)):
        waiting = asyncio.create_task(take_place(pool, 0.0))
        await asyncio.sleep(0)

        def cancel_when_its_time_is_up() -> None:
            waiting.cancel()

        # After the timer of the wait, and before the waiter runs again.
        asyncio.get_running_loop().call_later(0.0, cancel_when_its_time_is_up)
        await asyncio.wait([waiting])
        with pytest.raises(ProviderBusy):
            await take_place(pool, NO_TIME_S)


async def test_place_that_is_not_free_in_a_third_of_the_time_is_not_given() -> None:
    pool = SMTPPool(refuse, 1)
    timeout_s = 0.6
    with await pool.lease(Budget(IN_TIME_S)):
        waiting = asyncio.create_task(take_place(pool, timeout_s))
        await asyncio.sleep(timeout_s / 2)
    # The place is free again, and of no use to it any more.
    with pytest.raises(ProviderBusy):
        await waiting


def test_wait_for_a_place_leaves_a_third_for_the_dialogue_and_one_for_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(smtp_deadlines, "monotonic_s", lambda: now_s)
    budget = Budget(15.0)
    assert budget.left_for_place_s() == pytest.approx(5.0)
    now_s += 5.0
    assert budget.left_for_place_s() == pytest.approx(0.0)
    assert budget.left_s("mail") == pytest.approx(5.0)
    assert budget.left_s("final") == pytest.approx(10.0)
    now_s += 1.0
    assert budget.left_for_place_s() == 0.0


def test_no_phase_before_the_body_takes_all_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_deadlines, "monotonic_s", lambda: 1000.0)
    budget = Budget(24.0)
    phases: tuple[Phase, ...] = ("connect", "tls", "hello", "auth", "mail", "rcpt", "data")
    for phase in phases:
        assert budget.left_s(phase) == pytest.approx(10.0)
    assert budget.left_s("mail", 3.0) == pytest.approx(3.0)
    assert budget.left_s("final") == pytest.approx(24.0)


def test_being_busy_says_nothing_about_the_peer() -> None:
    assert judge_error(ProviderBusy()) is Verdict.NONE


async def test_callers_that_gave_up_waiting_are_passed_over() -> None:
    pool = SMTPPool(refuse, 1)
    with await pool.lease(Budget(IN_TIME_S)):
        late = asyncio.create_task(take_place(pool, NO_TIME_S))
        cancelled = asyncio.create_task(take_place(pool))
        patient = asyncio.create_task(take_place(pool))
        with pytest.raises(ProviderBusy):
            await late
        cancelled.cancel()
        await asyncio.wait([cancelled])
    await patient
    await take_place(pool)


async def test_place_of_a_handover_that_got_no_connection_is_free_again() -> None:
    pool = SMTPPool(refuse, 2)
    for _ in range(5):
        with (
            pytest.raises(HandoverStopped),
            await pool.lease(Budget(IN_TIME_S)) as lease,
        ):
            await lease.connect(Budget(IN_TIME_S))
    await asyncio.gather(*(take_place(pool, NO_TIME_S) for _ in range(2)))
