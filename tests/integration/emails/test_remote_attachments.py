"""Attachments by URL: fetched before the email is stored, whole or not at all, each by its name."""

import asyncio
import datetime as dt
import gzip
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from tallypost_core.errors import AppError
from tallypost_domain.emails import remote_attachments
from tallypost_domain.emails.attachments import AttachmentRequest
from tallypost_domain.emails.errors import EmailTooLarge, InvalidAttachment
from tallypost_domain.emails.remote_attachments import fetch_remote_attachments
from tallypost_domain.emails.types import NewEmail
from tallypost_domain.emails.validation import validate
from tallypost_resilience.deadline import Deadline
from tallypost_resilience.egress import Egress
from tallypost_resilience.egress_rules import EgressRules
from tests.support.emails import email_request
from tests.support.http_peers import Peer, Script, answer, peer, raw

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
LOCAL = AttachmentRequest(filename="local.txt", content="QUFB")


def email_with(*attachments: AttachmentRequest) -> NewEmail:
    return validate(email_request(attachments=list(attachments)), now=NOW)


def at(server: Peer, path: str = "/report.pdf") -> AttachmentRequest:
    return AttachmentRequest(path=server.url(path=path))


async def fetch(email: NewEmail, *servers: Peer, deadline: Deadline | None = None) -> NewEmail:
    """Fetch by an egress that may reach these servers."""
    rules = EgressRules(
        ports=frozenset(server.port for server in servers),
        allowed_networks=(ip_network("127.0.0.1"),),
    )
    egress = Egress("attachments", rules)
    try:
        return await fetch_remote_attachments(email, egress, deadline or Deadline.after(60))
    finally:
        await egress.aclose()


async def refuse(email: NewEmail, *servers: Peer, deadline: Deadline | None = None) -> AppError:
    with pytest.raises(AppError) as caught:
        await fetch(email, *servers, deadline=deadline)
    return caught.value


async def test_bodies_are_filled_in_and_keep_their_places() -> None:
    async with peer(answer(b"one")) as one, peer(answer(b"two")) as two:
        email = await fetch(email_with(at(one), LOCAL, at(two)), one, two)
    assert [attachment.body for attachment in email.attachments] == [b"one", b"AAA", b"two"]
    assert all(attachment.remote is None for attachment in email.attachments)


async def test_email_without_urls_is_left_as_it_is() -> None:
    email = email_with(LOCAL)
    assert await fetch(email) is email


async def test_name_and_type_come_from_the_url_and_the_answer_where_none_are_given() -> None:
    script = answer(b"x", headers=("Content-Type: image/png",))
    async with peer(script) as server:
        given = AttachmentRequest(
            path=server.url(path="/a.bin"), filename="given.txt", content_type="text/plain"
        )
        email = await fetch(email_with(at(server, "/pixel"), given), server)
    assert [(each.filename, each.content_type) for each in email.attachments] == [
        ("pixel", "image/png"),
        ("given.txt", "text/plain"),
    ]


async def test_content_id_of_an_inline_image_is_kept() -> None:
    async with peer(answer(b"x")) as server:
        request = AttachmentRequest(path=server.url(path="/logo.png"), content_id="logo")
        email = await fetch(email_with(request), server)
    assert email.attachments[0].content_id == "logo"


@pytest.mark.parametrize(
    "script",
    [
        answer(b"", status="404 Not Found"),
        answer(b"", status="500 Internal Server Error"),
        answer(b"", status="302 Found", headers=("Location: /elsewhere",)),
        raw(),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        answer(b"no gzip", headers=("Content-Encoding: gzip",)),
    ],
    ids=["missing", "broken", "redirect", "hang-up", "half", "no gzip"],
)
async def test_url_that_cannot_be_fetched_is_named(script: Script) -> None:
    async with peer(answer(b"x")) as good, peer(script) as bad:
        error = await refuse(email_with(LOCAL, at(good), at(bad, "/s3cr3t")), good, bad)
    assert isinstance(error, InvalidAttachment)
    assert error.field == "attachments[2].path"
    assert "`attachments[2].path`" in error.message
    assert "s3cr3t" not in error.message


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://localhost:22/"]
)
async def test_url_that_leads_inside_is_refused_by_name(url: str) -> None:
    error = await refuse(email_with(LOCAL, AttachmentRequest(path=url)))
    assert isinstance(error, InvalidAttachment)
    assert error.field == "attachments[1].path"


async def test_server_that_does_not_answer_in_time_is_named() -> None:
    async with peer(raw(then_hang=True)) as server:
        error = await refuse(email_with(at(server)), server, deadline=Deadline.after(0.2))
    assert isinstance(error, InvalidAttachment)
    assert error.field == "attachments[0].path"


@pytest.fixture
def limit_bytes(monkeypatch: pytest.MonkeyPatch) -> int:
    """How large an email may be in these tests."""
    monkeypatch.setattr(remote_attachments, "MAX_EMAIL_BYTES", 1_000)
    return 1_000


@pytest.mark.usefixtures("limit_bytes")
async def test_all_attachments_of_an_email_share_its_limit() -> None:
    async with peer(answer(b"x" * 300)) as server:
        assert await fetch(email_with(at(server), LOCAL, at(server), at(server)), server)
        error = await refuse(email_with(*[at(server)] * 4), server)
    assert isinstance(error, EmailTooLarge)
    assert str(error.field).startswith("attachments[")


@pytest.mark.usefixtures("limit_bytes")
async def test_compressed_attachment_counts_as_it_unpacks() -> None:
    script = answer(gzip.compress(bytes(100_000)), headers=("Content-Encoding: gzip",))
    async with peer(script) as server:
        assert isinstance(await refuse(email_with(at(server)), server), EmailTooLarge)


class Queue:
    """A server that answers nobody until it is let go, and counts who waits."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self.go = asyncio.Event()

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.go.wait()
        self.waiting -= 1
        await answer(b"x")(writer)


@pytest.fixture
async def queue() -> AsyncIterator[tuple[Queue, Peer]]:
    """A server with such a queue."""
    queue = Queue()
    async with peer(queue) as server:
        yield queue, server


async def test_few_are_fetched_at_a_time(queue: tuple[Queue, Peer]) -> None:
    waiting, server = queue
    fetching = asyncio.create_task(fetch(email_with(*[at(server)] * 20), server))
    async with asyncio.timeout(60):
        while waiting.waiting < 4:  # noqa: ASYNC110  # The server sees it when it sees it.
            await asyncio.sleep(0.01)
    waiting.go.set()
    email = await fetching
    assert all(attachment.body == b"x" for attachment in email.attachments)
    assert waiting.most == 4


async def test_first_failure_ends_the_other_fetches(queue: tuple[Queue, Peer]) -> None:
    _, server = queue
    async with peer(answer(b"", status="404 Not Found")) as bad:
        error = await refuse(email_with(at(server), at(bad), at(server)), server, bad)
    assert error.field == "attachments[1].path"
