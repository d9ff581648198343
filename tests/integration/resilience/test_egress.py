"""Egress against servers and names that mean harm, and what it does for those that do not.

Loopback stands for the internet here: a test allows 127.0.0.1, and all else stays forbidden.
"""

import asyncio
import gzip
import socket
import ssl
import traceback
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
import structlog

from tallypost_core.errors import AppError
from tallypost_resilience.deadline import Deadline
from tallypost_resilience.egress import Egress, LookUp, open_socket
from tallypost_resilience.egress_bodies import ByteBudget
from tallypost_resilience.egress_rules import (
    EgressFailed,
    EgressForbidden,
    EgressRedirected,
    EgressRules,
    EgressTimedOut,
    EgressTooLarge,
    EgressUnreachable,
)
from tests.integration.resilience.certificates import make_contexts
from tests.support.http_peers import Peer, Script, answer, peer, raw

NAME = "files.example.test"
SECRET = "s3cr3t-token"
ALLOWED = (ip_network("127.0.0.1/32"),)
MANY = 10_000_000


@asynccontextmanager
async def egress_to(
    server: Peer,
    *,
    look_up: LookUp | None = None,
    tls: ssl.SSLContext | None = None,
    timeout_s: float = 30.0,
    max_answer_bytes: int = 64_000,
) -> AsyncIterator[Egress]:
    """An egress that may reach this server, by the name NAME too."""
    rules = EgressRules(
        ports=frozenset({server.port}),
        allowed_networks=ALLOWED,
        timeout_s=timeout_s,
        max_answer_bytes=max_answer_bytes,
    )
    egress = Egress("test", rules, look_up=look_up or always("127.0.0.1"), tls=tls)
    try:
        yield egress
    finally:
        await egress.aclose()


def always(*addresses: str) -> LookUp:
    """A resolver that gives every name these addresses."""

    async def look_up(_host: str) -> Sequence[str]:
        return addresses

    return look_up


class ChangingResolver:
    """Gives a name one answer after the other; the last one for good."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.calls = 0

    async def __call__(self, _host: str) -> Sequence[str]:
        self.calls += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def chunked(body: bytes, *headers: str) -> Script:
    """An answer that does not say how long it is."""
    head = ["HTTP/1.1 200 OK", *headers, "Transfer-Encoding: chunked", "", ""]
    pieces = [body[start : start + 16_000] for start in range(0, len(body), 16_000)]
    return raw(
        "\r\n".join(head).encode(),
        *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces),
        b"0\r\n\r\n",
    )


async def test_answer_arrives_with_status_headers_and_body() -> None:
    script = answer(
        b"body", status="404 Not Found", headers=("X-A: 1", "x-a: 2", "Content-Type: a/b")
    )
    async with peer(script) as server, egress_to(server) as egress:
        response = await egress.fetch("GET", server.url(NAME, "/a?b=c#d"))
    assert (response.status, response.body) == (404, b"body")
    assert response.headers["x-a"] == "1, 2"
    assert response.headers["content-type"] == "a/b"
    assert server.requests[0].startswith("GET /a?b=c HTTP/1.1\r\n")
    assert f"\r\nHost: {NAME}:{server.port}\r\n" in server.requests[0]


async def test_method_headers_and_body_are_sent() -> None:
    async with peer(answer()) as server, egress_to(server) as egress:
        await egress.fetch("POST", server.url(NAME), headers={"X-Sample": "1"}, body=b"12345")
    assert server.requests[0].startswith("POST / HTTP/1.1\r\n")
    assert "\r\nX-Sample: 1\r\n" in server.requests[0]
    assert "\r\nContent-Length: 5\r\n" in server.requests[0]
    assert server.bodies == [b"12345"]


async def test_large_body_arrives_whole() -> None:
    body = b"".join(number.to_bytes(4) for number in range(1_250_000))
    async with peer(answer()) as server, egress_to(server) as egress:
        await egress.fetch("POST", server.url(NAME), body=body)
    assert f"\r\nContent-Length: {len(body)}\r\n" in server.requests[0]
    assert server.bodies == [body]


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding"])
async def test_headers_that_frame_a_request_are_not_the_callers(name: str) -> None:
    async with peer(answer()) as server, egress_to(server) as egress:
        with pytest.raises(ValueError, match="not the caller's"):
            await egress.fetch("GET", server.url(NAME), headers={name: "1"})
    assert server.connections == 0


async def test_connection_is_used_again() -> None:
    async with peer(answer()) as server, egress_to(server) as egress:
        for _ in range(3):
            await egress.fetch("GET", server.url(NAME))
    assert (server.connections, len(server.requests)) == (1, 3)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.2", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:7f00:1]", "2130706433", "127.1"],
)
async def test_address_in_the_url_is_judged(host: str) -> None:
    async with peer(answer()) as server, egress_to(server) as egress:
        with pytest.raises(EgressForbidden):
            await egress.fetch("GET", server.url(host))
    assert server.connections == 0


async def test_name_of_this_machine_is_judged_by_its_address() -> None:
    async with peer(answer()) as server:
        egress = Egress("test", EgressRules(ports=frozenset({server.port})))
        try:
            with pytest.raises(EgressForbidden):
                await egress.fetch("GET", server.url("localhost"))
        finally:
            await egress.aclose()
    assert server.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "8.8.8.8", "fd00::1"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("127.0.0.1", "fe80::1%1"),
    ],
    ids=str,
)
async def test_one_bad_answer_of_a_resolver_spoils_all(addresses: tuple[str, ...]) -> None:
    async with peer(answer()) as server, egress_to(server, look_up=always(*addresses)) as egress:
        with pytest.raises(EgressForbidden):
            await egress.fetch("GET", server.url(NAME))
    assert server.connections == 0


async def test_name_that_changes_its_address_is_looked_up_once_for_each_connection() -> None:
    resolver = ChangingResolver(["127.0.0.1"], ["127.0.0.2"])
    closing = answer(headers=("Connection: close",))
    async with peer(closing) as server:
        try:
            inside = peer(answer(b"internal"), host="127.0.0.2", port=server.port)
            async with inside as internal, egress_to(server, look_up=resolver) as egress:
                assert (await egress.fetch("GET", server.url(NAME))).body == b"hello"
                assert resolver.calls == 1
                with pytest.raises(EgressForbidden):
                    await egress.fetch("GET", server.url(NAME))
                assert (resolver.calls, internal.connections) == (2, 0)
        except OSError as error:
            pytest.skip(f"this machine has one loopback address only: {error}")


def test_socket_is_not_made_for_an_address_that_is_not_allowed() -> None:
    rules = EgressRules(allowed_networks=ALLOWED)
    for address in ("127.0.0.2", "10.0.0.1"):
        with pytest.raises(PermissionError):
            open_socket(rules, (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80)))
    with open_socket(rules, (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80))) as it:
        assert it.family == socket.AF_INET


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
async def test_redirect_is_an_error_and_is_not_followed(status: int) -> None:
    target = f"http://127.0.0.1:1/{SECRET}"
    script = answer(b"", status=f"{status} Elsewhere", headers=(f"Location: {target}",))
    async with peer(script) as server, egress_to(server) as egress:
        with pytest.raises(EgressRedirected) as caught:
            await egress.fetch("GET", server.url(NAME))
    assert len(server.requests) == 1
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("make", [answer, chunked], ids=["told", "untold"])
async def test_answer_of_the_allowed_size_arrives_and_a_larger_one_does_not(
    make: Callable[[bytes], Script],
) -> None:
    for size in (50_000, 50_001):
        script = make(b"x" * size)
        async with peer(script) as server, egress_to(server, max_answer_bytes=50_000) as egress:
            if size == 50_000:
                assert len((await egress.fetch("GET", server.url(NAME))).body) == size
            else:
                with pytest.raises(EgressTooLarge):
                    await egress.fetch("GET", server.url(NAME))


async def test_length_without_a_body_is_not_counted() -> None:
    script = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    async with peer(script) as server, egress_to(server) as egress:
        response = await egress.fetch("HEAD", server.url(NAME))
    assert response.headers["content-length"] == "1000000"


async def test_answers_may_share_one_budget() -> None:
    budget = ByteBudget(100)
    async with peer(answer(b"x" * 40)) as server, egress_to(server, max_answer_bytes=1) as egress:
        for _ in range(2):
            await egress.fetch("GET", server.url(NAME), budget=budget)
        assert budget.left_bytes == 20
        with pytest.raises(EgressTooLarge):
            await egress.fetch("GET", server.url(NAME), budget=budget)


async def test_connection_of_an_answer_without_end_is_closed() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()

    async with peer(endless) as server, egress_to(server) as egress:
        with pytest.raises(EgressTooLarge):
            await egress.fetch("GET", server.url(NAME))
        async with asyncio.timeout(30):
            while not server.hang_ups:  # noqa: ASYNC110  # The server sees it when it sees it.
                await asyncio.sleep(0.01)


def bomb() -> bytes:
    """A gigabyte of zeros in a megabyte."""
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(MANY)
    return b"".join(packer.compress(block) for _ in range(100)) + packer.flush()


@pytest.mark.parametrize("is_length_told", [True, False])
async def test_compressed_bomb_ends_at_the_limit(is_length_told: bool) -> None:
    packed, header = bomb(), "Content-Encoding: gzip"
    script = answer(packed, headers=(header,)) if is_length_told else chunked(packed, header)
    async with peer(script) as server, egress_to(server, max_answer_bytes=2_000_000) as egress:
        tracemalloc.start()
        try:
            with pytest.raises(EgressTooLarge):
                await egress.fetch("GET", server.url(NAME))
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < MANY


async def test_compressed_answer_is_unpacked() -> None:
    script = answer(gzip.compress(b"hello"), headers=("Content-Encoding: gzip",))
    async with peer(script) as server, egress_to(server) as egress:
        assert (await egress.fetch("GET", server.url(NAME))).body == b"hello"


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drip_headers(writer: asyncio.StreamWriter) -> None:
    """A header now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "script", [drip, drip_headers, raw(then_hang=True)], ids=["body", "headers", "silence"]
)
@pytest.mark.parametrize("is_deadline", [False, True], ids=["rules", "deadline"])
async def test_slow_server_ends_at_the_time_limit(script: Script, is_deadline: bool) -> None:
    timeout_s = 30.0 if is_deadline else 0.2
    async with peer(script) as server, egress_to(server, timeout_s=timeout_s) as egress:
        deadline = Deadline.after(0.2) if is_deadline else None
        with pytest.raises(EgressTimedOut):
            await egress.fetch("GET", server.url(NAME), deadline=deadline)


async def test_slow_resolver_ends_at_the_time_limit() -> None:
    async def never(_host: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    async with peer(answer()) as server, egress_to(server, look_up=never, timeout_s=0.1) as egress:
        with pytest.raises(EgressUnreachable):
            await egress.fetch("GET", server.url(NAME))


async def test_deadline_that_is_over_sends_nothing() -> None:
    async with peer(answer()) as server, egress_to(server) as egress:
        with pytest.raises(EgressUnreachable):
            await egress.fetch("GET", server.url(NAME), deadline=Deadline.after(0))
    assert server.requests == []


async def test_request_that_cannot_leave_in_time_never_does() -> None:
    async def never(host: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    async with peer(answer()) as server, egress_to(server, look_up=never) as egress:
        with pytest.raises(EgressUnreachable):
            await egress.fetch("GET", server.url(NAME), leave_by=Deadline.after(0.1))
    assert server.requests == []


async def test_request_that_left_in_time_has_all_of_its_time_for_the_answer() -> None:
    leave_by = Deadline.after(1.0)

    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(leave_by.remaining_s + 0.01)
        await answer()(writer)

    async with peer(late) as server, egress_to(server) as egress:
        response = await egress.fetch("GET", server.url(NAME), leave_by=leave_by)
    assert response.body == b"hello"


BROKEN: dict[str, Script] = {
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "end before the answer": raw(),
    "end within the headers": raw(b"HTTP/1.1 200 OK\r\nX: y"),
    "end within the body": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"),
    "header too long": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
    "too many headers": raw(
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(1_000)) + b"\r\n"
    ),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "length and chunks": raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "no gzip": answer(b"not gzip at all", headers=("Content-Encoding: gzip",)),
    "half a gzip": answer(gzip.compress(b"x" * 1000)[:20], headers=("Content-Encoding: gzip",)),
    "unknown coding": answer(b"x", headers=("Content-Encoding: br",)),
    "two codings": answer(b"x", headers=("Content-Encoding: gzip, gzip",)),
    "two headers of codings": answer(
        b"x", headers=("Content-Encoding: identity", "Content-Encoding: br")
    ),
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
async def test_broken_answer_is_an_outage_of_the_server(script: Script) -> None:
    async with peer(script) as server, egress_to(server) as egress:
        with pytest.raises(EgressFailed) as caught:
            await egress.fetch("GET", server.url(NAME))
    assert not isinstance(caught.value, EgressUnreachable)


async def test_server_that_is_not_there_is_an_outage() -> None:
    async with peer(answer()) as server:
        pass
    async with egress_to(server) as egress:
        with pytest.raises(EgressUnreachable):
            await egress.fetch("GET", server.url(NAME))


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), OSError("no resolver"), None])
async def test_name_without_an_address_is_an_outage(error: OSError | None) -> None:
    async def look_up(_host: str) -> Sequence[str]:
        if error is not None:
            raise error
        return ()

    async with peer(answer()) as server, egress_to(server, look_up=look_up) as egress:
        with pytest.raises(EgressUnreachable):
            await egress.fetch("GET", server.url(NAME))


async def test_name_that_nobody_has_is_an_outage() -> None:
    egress = Egress("test", EgressRules())
    try:
        with pytest.raises(EgressUnreachable):
            await egress.fetch("GET", "http://no-such-name.invalid/")
    finally:
        await egress.aclose()


@pytest.mark.parametrize(
    "script",
    [
        raw(),
        raw(b"no HTTP\r\n\r\n"),
        raw(then_hang=True),
        answer(b"x" * 100_000),
        answer(b"", status="302 Found", headers=("Location: /",)),
        answer(b"x", headers=("Content-Encoding: gzip",)),
    ],
    ids=["cut", "no HTTP", "silence", "large", "redirect", "no gzip"],
)
async def test_error_and_log_hold_nothing_of_the_url(script: Script) -> None:
    async with peer(script) as server, egress_to(server, timeout_s=0.5) as egress:
        with structlog.testing.capture_logs() as logs, pytest.raises(AppError) as caught:
            await egress.fetch("GET", server.url(NAME, f"/{SECRET}?key={SECRET}"))
    text = "".join(traceback.format_exception(caught.value)) + str(logs)
    assert SECRET not in text
    assert caught.value.__context__ is None
    assert [entry["event"] for entry in logs] == ["egress.failed"]


async def test_cookies_are_neither_kept_nor_sent() -> None:
    script = answer(headers=("Set-Cookie: session=1; Path=/",))
    async with peer(script) as server, egress_to(server) as egress:
        for _ in range(2):
            await egress.fetch("GET", server.url(NAME))
    assert "cookie" not in server.requests[1].lower()


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with peer(answer(b"direct")) as server, peer(answer(b"proxy")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        async with egress_to(server) as egress:
            assert (await egress.fetch("GET", server.url(NAME))).body == b"direct"
    assert proxy.connections == 0


async def test_tls_asks_for_the_original_name_and_checks_it(tmp_path: Path) -> None:
    server_tls, client_tls = make_contexts(NAME, tmp_path)
    asked: list[str | None] = []
    server_tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with (
        peer(answer(), tls=server_tls) as server,
        egress_to(server, tls=client_tls) as egress,
    ):
        response = await egress.fetch("GET", server.url(NAME, scheme="https"))
        assert response.body == b"hello"
        assert asked == [NAME]
        with pytest.raises(EgressUnreachable):
            await egress.fetch("GET", server.url("other.example.test", scheme="https"))
    assert len(server.requests) == 1


async def test_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    server_tls, _ = make_contexts(NAME, tmp_path)
    async with peer(answer(), tls=server_tls) as server, egress_to(server) as egress:
        with pytest.raises(EgressUnreachable):
            await egress.fetch("GET", server.url(NAME, scheme="https"))
    assert server.requests == []


async def test_caller_that_gives_up_closes_the_connection() -> None:
    async with peer(drip) as server, egress_to(server) as egress:
        caller: asyncio.Task[object] = asyncio.create_task(egress.fetch("GET", server.url(NAME)))
        async with asyncio.timeout(30):
            while not server.requests:  # noqa: ASYNC110  # The server sees it when it sees it.
                await asyncio.sleep(0.01)
            caller.cancel()
            await asyncio.wait([caller])
            while not server.hang_ups:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert caller.cancelled()
