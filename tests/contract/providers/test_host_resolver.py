"""Name servers that do not answer one tenant keep no other tenant from being answered.

The threads are those that a worker has. What hangs is the system's resolver, at names that end in
`.slow.example`.
"""

import asyncio
import ipaddress
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from tallypost_core.settings.loader import Secret
from tallypost_providers.host_resolver import THREADS, THREADS_OF_ONE_OWNER, resolver_for
from tallypost_providers.smtp import SMTPProvider
from tallypost_providers.smtp_failures import Silence
from tallypost_providers.tenant_accounts import SMTPTenantSettings, create_tenant_account
from tallypost_providers.types import Outcome, SendResult
from tallypost_resilience.egress_rules import EgressRules
from tests.support.smtp_peers import AiosmtpdPeer, Certificate, wait_until
from tests.unit.providers.emails import make_email

IN_TIME_S = 10.0
SHORT_S = 1.5
LOOPBACK = EgressRules(allowed_networks=(ipaddress.ip_network("127.0.0.0/8"),))

END_WITH_A_LOOK_UP_UNDER_WAY = """
import asyncio, socket, threading
from tallypost_core.settings.loader import Secret
from tallypost_providers.host_resolver import resolver_for

asked = threading.Event()

def hang(*args, **kwargs):
    asked.set()
    threading.Event().wait()

async def main():
    look_up = asyncio.create_task(resolver_for("tenant-1")("a.slow.example"))
    while not asked.is_set():
        await asyncio.sleep(0.01)
    look_up.cancel()

socket.getaddrinfo = hang
asyncio.run(main())
print("ended")
"""


class SystemResolver:
    """Hangs for slow names until it is let go, and has loopback for all others."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hanging = 0
        self.most_hanging = 0
        self._lock = threading.Lock()
        self._may_answer = threading.Semaphore(0)
        self._is_over = False

    def __call__(self, host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        with self._lock:
            self.asked.append(host)
        if host.endswith(".slow.example") and not self._is_over:
            with self._lock:
                self.hanging += 1
                self.most_hanging = max(self.most_hanging, self.hanging)
            self._may_answer.acquire()
            with self._lock:
                self.hanging -= 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    def let_go(self, count: int) -> None:
        """Answer so many of those that hang."""
        self._may_answer.release(count)

    def end(self) -> None:
        """Answer all from here on."""
        self._is_over = True
        self.let_go(10_000)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[SystemResolver]:
    """The system's resolver; no thread hangs after the test."""
    resolver = SystemResolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.end()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Accounts that are closed with the test."""
    async with AsyncExitStack() as resources:
        yield resources


@pytest.fixture
async def relay(trusted_certificate: Certificate) -> AsyncIterator[AiosmtpdPeer]:
    """A relay at a local port, whose certificate is for localhost."""
    async with AiosmtpdPeer().running(trusted_certificate, "starttls") as peer:
        yield peer


def open_account(stack: AsyncExitStack, owner: str, host: str, port: int = 587) -> SMTPProvider:
    """A tenant's account as the worker makes it."""
    settings = SMTPTenantSettings(
        host=host,
        port=port,  # type: ignore[arg-type]  # A free one, in the place of a mail port.
        security="starttls",
        username="relay-user",
        password=Secret("relay-password"),
    )
    provider = create_tenant_account("smtp", settings, f"account-at-{host}", LOOPBACK, owner=owner)
    assert isinstance(provider, SMTPProvider)
    stack.push_async_callback(provider.close)
    return provider


def assert_timed_out(result: SendResult) -> None:
    assert result.recipients[0].outcome is Outcome.UNAVAILABLE
    assert result.evidence == {"silence": Silence.TIMEOUT}
    assert result.recipients[0].detail == "the host's name was not answered for in time"


async def test_tenant_whose_names_hang_takes_no_thread_from_another(
    system: SystemResolver, stack: AsyncExitStack, relay: AiosmtpdPeer
) -> None:
    slow = [open_account(stack, "tenant-a", f"a{place}.slow.example") for place in range(20)]
    checks = [open_account(stack, "tenant-a", f"c{place}.slow.example") for place in range(20)]
    waiting = [asyncio.create_task(account.send(make_email(), IN_TIME_S)) for account in slow]
    checking = [asyncio.create_task(account.check(SHORT_S)) for account in checks]
    await wait_until(lambda: system.hanging == THREADS_OF_ONE_OWNER)
    other = open_account(stack, "tenant-b", "localhost", relay.port)
    assert (await other.send(make_email(), IN_TIME_S)).recipients[0].outcome is Outcome.ACCEPTED
    assert [step.state for step in await other.check(IN_TIME_S)] == ["good"] * 6
    assert system.hanging == THREADS_OF_ONE_OWNER
    # Whoever waits for a turn does so in its own time.
    for steps in await asyncio.gather(*checking):
        assert steps[0].state == "failed"
        assert steps[0].detail == "the host's name was not answered for in time"
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_turn_that_ends_goes_to_whoever_still_waits(
    system: SystemResolver, stack: AsyncExitStack, relay: AiosmtpdPeer
) -> None:
    hosts = [f"a{place}.slow.example" for place in range(THREADS_OF_ONE_OWNER)]
    holding = [open_account(stack, "tenant-a", host) for host in hosts]
    held = [asyncio.create_task(account.send(make_email(), SHORT_S)) for account in holding]
    await wait_until(lambda: system.hanging == THREADS_OF_ONE_OWNER)
    gone = open_account(stack, "tenant-a", "gone.slow.example")
    assert_timed_out(await gone.send(make_email(), SHORT_S))
    for result in await asyncio.gather(*held):
        assert_timed_out(result)
    # They gave up, and their threads hang still: these are what the owner has.
    last = open_account(stack, "tenant-a", "localhost", relay.port)
    sent = asyncio.create_task(last.send(make_email(), IN_TIME_S))
    other = open_account(stack, "tenant-b", "localhost", relay.port)
    assert (await other.send(make_email(), IN_TIME_S)).recipients[0].outcome is Outcome.ACCEPTED
    assert not sent.done()
    assert system.hanging == THREADS_OF_ONE_OWNER
    system.let_go(1)
    assert (await sent).recipients[0].outcome is Outcome.ACCEPTED
    assert "gone.slow.example" not in system.asked


async def test_name_is_asked_for_once_by_all_accounts_of_one_owner(
    system: SystemResolver, stack: AsyncExitStack
) -> None:
    # A check has an account of its own each time.
    accounts = [open_account(stack, "tenant-a", "a.slow.example") for _ in range(3)]
    results = await asyncio.gather(*(account.send(make_email(), SHORT_S) for account in accounts))
    for result in results:
        assert_timed_out(result)
    # It hangs on, and nobody waits for it.
    assert (await accounts[0].check(SHORT_S))[0].state == "failed"
    assert system.asked == ["a.slow.example"]
    other = open_account(stack, "tenant-b", "a.slow.example")
    assert_timed_out(await other.send(make_email(), SHORT_S))
    assert system.asked == ["a.slow.example"] * 2


async def test_threads_of_all_owners_have_an_end_and_whoever_is_next_waits(
    system: SystemResolver,
) -> None:
    async def ask(owner: str, host: str) -> list[str]:
        return [*await resolver_for(owner)(host)]

    asked = [
        asyncio.create_task(ask(f"tenant-{owner}", f"a{place}.slow.example"))
        for owner in range(40)
        for place in range(THREADS_OF_ONE_OWNER)
    ]
    await wait_until(lambda: system.hanging == THREADS)
    late = asyncio.create_task(ask("tenant-late", "relay.example.com"))
    system.let_go(len(asked))
    answers = await asyncio.gather(*asked, late)
    assert answers == [["127.0.0.1"]] * (len(asked) + 1)
    assert len(system.asked) == len(asked) + 1
    assert system.most_hanging == THREADS


async def test_failure_of_the_resolver_reaches_everybody_who_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    look_up = resolver_for("tenant-a")
    for _ in range(THREADS_OF_ONE_OWNER + 1):
        answers = await asyncio.gather(
            *(look_up("relay.example.com") for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [socket.gaierror] * 3


def test_process_ends_without_the_answer_of_a_name_server() -> None:
    # One that waited for it would wait without end.
    ended = subprocess.run(
        [sys.executable, "-c", END_WITH_A_LOOK_UP_UNDER_WAY],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr) == ("ended\n", "")
