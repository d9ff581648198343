"""Nothing acknowledged is lost, and no duplicate is unlisted, whatever is killed meanwhile.

Each experiment breaks something while clients send, leaves it to heal by itself and then counts.
"""

import random
import time
from collections.abc import Callable

import pytest
import redis
from msgspec import Struct

from tests.faults.clients import Clients
from tests.faults.verdicts import Verdict, judge
from tests.support.platform import Platform
from tests.support.sinks import CountingSink


class Scale(Struct, frozen=True, kw_only=True):
    """How large an experiment is."""

    count: int
    duration_s: float
    """Over how long the sends are spread."""
    kills: int
    redis_outage_s: float
    postgres_outage_s: float


_SMALL = Scale(count=200, duration_s=8.0, kills=3, redis_outage_s=6.0, postgres_outage_s=2.0)
# Here PostgreSQL stays away for longer than a worker's lease lasts.
_FULL = Scale(count=2_000, duration_s=60.0, kills=12, redis_outage_s=20.0, postgres_outage_s=40.0)
_SLOW = [pytest.mark.slow, pytest.mark.timeout(900)]
_FIRST_FAULT_AFTER_S = 2.0
_REDIS_FLUSH_EVERY_S = 0.3

Experiment = Callable[[str, Callable[[Clients], None]], Verdict]


@pytest.fixture(
    params=[pytest.param(_SMALL, id="200"), pytest.param(_FULL, id="2000", marks=_SLOW)]
)
def scale(request: pytest.FixtureRequest) -> Scale:
    """The size of the experiment."""
    size: Scale = request.param
    return size


@pytest.fixture
def experiment(
    platform: Platform, sink: CountingSink, scale: Scale, report_lines: list[str]
) -> Experiment:
    """Runs clients and, beside them, a function that breaks things and mends what it stopped."""
    platform.wait_until_ready()

    def run(name: str, break_things: Callable[[Clients], None]) -> Verdict:
        clients = Clients(platform, f"{name}-{scale.count}", scale.count, scale.duration_s)
        clients.start()
        clients.sending_for(_FIRST_FAULT_AFTER_S)
        break_things(clients)
        faults_ended_s = time.monotonic()
        clients.finish()
        verdict = judge(platform, sink, clients, faults_ended_s=faults_ended_s)
        report_lines.append(verdict.line())
        assert verdict.broken_promises() == {}
        return verdict

    return run


def test_workers_are_killed(platform: Platform, scale: Scale, experiment: Experiment) -> None:
    def kill(clients: Clients) -> None:
        for number in range(scale.kills):
            platform.workers[number % len(platform.workers)].kill()
            clients.sending_for(scale.duration_s / scale.kills - 0.5)

    experiment("workers-killed", kill)


def test_api_is_killed(platform: Platform, scale: Scale, experiment: Experiment) -> None:
    def kill(clients: Clients) -> None:
        for _ in range(scale.kills):
            platform.api.kill()
            platform.api.wait_until_ready()
            clients.sending_for(1.0)
        assert clients.refusals, "no client noticed"

    experiment("api-killed", kill)


def test_every_program_is_restarted_in_turn(platform: Platform, experiment: Experiment) -> None:
    def restart(clients: Clients) -> None:
        for program in platform.programs:
            program.restart()
            program.wait_until_ready()

    verdict = experiment("all-restarted", restart)
    # Who is asked to end finishes what is under way, so that nothing is in doubt.
    assert (verdict.duplicated, verdict.unconfirmed) == (0, 0)


def test_redis_is_flushed(platform: Platform, experiment: Experiment) -> None:
    def flush(clients: Clients) -> None:
        with redis.Redis.from_url(platform.redis.url) as connection:
            while clients.sending_for(_REDIS_FLUSH_EVERY_S):
                connection.flushall()

    experiment("redis-flushed", flush)


def test_redis_is_away(platform: Platform, scale: Scale, experiment: Experiment) -> None:
    def stop(clients: Clients) -> None:
        platform.redis.stop()
        # One that starts meanwhile has to work as well.
        platform.workers[0].restart()
        time.sleep(scale.redis_outage_s)
        platform.redis.start()

    experiment("redis-stopped", stop)


def test_postgres_is_away(platform: Platform, scale: Scale, experiment: Experiment) -> None:
    def stop(clients: Clients) -> None:
        platform.postgres.stop()
        time.sleep(scale.postgres_outage_s)
        platform.postgres.start()
        assert clients.refusals, "no client noticed"

    experiment("postgres-stopped", stop)


def test_postgres_crashes(platform: Platform, experiment: Experiment) -> None:
    def crash(clients: Clients) -> None:
        platform.postgres.kill()
        time.sleep(1.0)
        platform.postgres.start()
        assert clients.refusals, "no client noticed"

    experiment("postgres-crashed", crash)


@pytest.mark.parametrize("scale", [pytest.param(_FULL, id="2000", marks=_SLOW)], indirect=True)
def test_everything_breaks_in_turn(platform: Platform, experiment: Experiment) -> None:
    def restart_redis() -> None:
        platform.redis.kill()
        platform.redis.start()

    def crash_postgres() -> None:
        platform.postgres.kill()
        platform.postgres.start()

    steps = [
        platform.workers[0].kill,
        platform.workers[1].kill,
        platform.api.kill,
        restart_redis,
        crash_postgres,
    ]
    chosen = random.Random(2).choices(steps, k=20)  # noqa: S311 - the same faults in every run

    def break_in_turn(clients: Clients) -> None:
        for step in chosen:
            step()
            clients.sending_for(2.0)

    experiment("everything", break_in_turn)
