"""`tallypost plugins` on a database: what is left of a subscriber, and what is done about it."""

import asyncio
import os
import pty
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from tallypost_cli.main import main
from tallypost_domain.db.pools import Pool
from tallypost_domain.subscribers.feeding import claim_events, record_failed, register
from tallypost_domain.subscribers.types import FailedDelivery
from tests.integration.queue.harness import Harness
from tests.integration.subscribers.rows import age_subscriber, rows_of
from tests.support.database import SeededTenant


async def call(queue: Harness, *arguments: str) -> Result:
    """Call the command as an operator does."""
    environ = {"TALLYPOST_DATABASE_CLI_URL": queue.database.url("tp_cli"), "COLUMNS": "300"}
    return await asyncio.to_thread(CliRunner().invoke, main, ["plugins", *arguments], env=environ)


@pytest.fixture(autouse=True)
async def left(
    queue: Harness, pool: Pool, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    """Two subscribers that are not installed; one has a dead event of each tenant."""
    for name in ("ledger", "second"):
        await register(pool, name, is_hanging=None)
    await queue.add(tenant)
    await queue.add(other_tenant)
    claimed = await claim_events(pool, "ledger", 10)
    failed = [FailedDelivery(claim, "KeyError", None) for claim in claimed.claims]
    await record_failed(pool, "ledger", failed)


async def test_what_is_left_of_a_subscriber_is_listed_although_it_is_not_installed(
    queue: Harness,
) -> None:
    result = await call(queue)
    assert result.exit_code == 0, result.output
    rows = {
        cells[0]: cells[1:]
        for line in result.output.splitlines()
        if (cells := [cell.strip() for cell in line.strip("│").split("│")])
    }
    assert rows["ledger"][:6] == [
        *("not installed", "", "no", "no", "0", "2, the last of KeyError")
    ]
    assert rows["second"][4:6] == ["2", "0"]


async def test_retry_lets_the_dead_of_one_subscriber_come_again(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    result = await call(queue, "retry", "ledger")
    assert result.output == "Dead events of ledger that are due again: 2\n"
    for owner in (tenant, other_tenant):
        (row,) = await rows_of(queue, owner, "ledger")
        assert (row["state"], row["attempt"]) == ("waiting", 0)
    assert "due again: 0" in (await call(queue, "retry", "ledger")).output


async def test_forget_drops_one_subscriber_once_no_worker_names_it(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    refused = await call(queue, "forget", "ledger", "--yes")
    assert refused.exit_code == 1
    assert "A worker has named ledger in the last 5 min" in refused.stderr
    assert len(await rows_of(queue, tenant, "ledger")) == 1
    # Long before the day is over for which events are kept.
    await age_subscriber(queue, "ledger", 0.1)
    result = await call(queue, "forget", "ledger", "--yes")
    assert result.output == "Events of ledger that are dropped: 2\n"
    for owner in (tenant, other_tenant):
        assert await rows_of(queue, owner, "ledger") == []
        assert len(await rows_of(queue, owner, "second")) == 1
    unknown = await call(queue, "forget", "ledger", "--yes")
    assert unknown.exit_code == 1
    assert "No worker has named a subscriber 'ledger'. Known: second." in unknown.stderr


async def test_forget_without_a_terminal_tells_the_loss_and_drops_nothing_unless_it_is_told_to(
    queue: Harness, tenant: SeededTenant, other_tenant: SeededTenant
) -> None:
    await age_subscriber(queue, "second", 2.0)
    refused = await call(queue, "forget", "second")
    assert refused.exit_code == 1
    assert "Events of second: 2 waiting, 0 dead. A worker last named it 2 h ago." in refused.stderr
    assert "--yes" in refused.stderr
    for owner in (tenant, other_tenant):
        assert len(await rows_of(queue, owner, "second")) == 1


@pytest.mark.parametrize(
    ("answer", "status", "kept", "told"),
    [
        ("n", 1, 1, "Nothing is dropped."),
        ("", 1, 1, "Nothing is dropped."),
        ("y", 0, 0, "Events of ledger that are dropped: 2"),
    ],
)
async def test_forget_asks_at_a_terminal_and_does_as_it_is_told(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    answer: str,
    status: int,
    kept: int,
    told: str,
) -> None:
    await age_subscriber(queue, "ledger", 1.0)
    ended, shown = await asyncio.to_thread(
        answer_at_terminal, queue.database.url("tp_cli"), "ledger", f"{answer}\n"
    )
    question = "Events of ledger: 0 waiting, 2 dead. A worker last named it 1 h ago. Drop them for"
    assert question in shown
    assert (ended, told in shown) == (status, True)
    for owner in (tenant, other_tenant):
        assert len(await rows_of(queue, owner, "ledger")) == kept
        assert len(await rows_of(queue, owner, "second")) == 1


def answer_at_terminal(url: str, name: str, answer: str) -> tuple[int, str]:
    """Call `forget` with a terminal and type an answer; its exit status, and what it showed."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "tallypost_cli", "plugins", "forget", name],
            env=os.environ | {"TALLYPOST_DATABASE_CLI_URL": url, "COLUMNS": "300"},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    return ended.returncode, ended.stdout
