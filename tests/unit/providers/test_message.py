"""Rendering many emails in threads gives what rendering each alone gives."""

import asyncio
import threading
from collections.abc import Callable
from itertools import chain

import pytest
import uvloop
from msgspec.structs import replace

from tallypost_providers.dkim import sign
from tallypost_providers.errors import EmailNotBuildable, SigningKeyInvalid
from tallypost_providers.message import Renderer, render, render_async
from tallypost_providers.mime import build_message
from tallypost_providers.types import Attachment, OutgoingEmail
from tests.unit.providers.dkim_judge import verifies
from tests.unit.providers.emails import make_dkim_key, make_email
from tests.unit.providers.mail_shapes import SHAPES

EACH_NUMBER_OF_THREADS = pytest.mark.parametrize("threads", [1, 2, 3])
LARGE = Attachment(filename="large.bin", content_type="a/b", body=bytes(300_000))
UNBUILDABLE = make_email(to=("nobody",))


def some_emails(count: int) -> list[OutgoingEmail]:
    """Small and large ones, all different."""
    keys = (make_dkim_key("rsa-sha256"), make_dkim_key("ed25519-sha256"))
    return [
        make_email(
            subject=f"Number {number}",
            dkim_keys=keys,
            attachments=(LARGE,) if number % 7 == 3 else (),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_message_is_signed_as_if_it_were_read_back(name: str) -> None:
    email = SHAPES[name]
    assert render(email) == sign(build_message(email), email.dkim_keys, email.created_at)


@pytest.mark.parametrize("text", ["", "\n", "\n\n\n", "a\n\n", " \n", "\t \n \n", "a  b \n\n \n"])
@pytest.mark.parametrize("html", [None, "", "\n\n", "<p>  x \n\n"])
def test_signature_holds_where_a_body_is_blank_or_ends_so(text: str, html: str | None) -> None:
    email = make_email(text=text, html=html, dkim_keys=(make_dkim_key("ed25519-sha256"),))
    assert verifies(render(email))


@EACH_NUMBER_OF_THREADS
async def test_many_messages_come_in_the_order_of_their_emails(threads: int) -> None:
    emails = some_emails(60)
    renderer = Renderer(threads)
    assert await renderer.render_many(emails) == [render(email) for email in emails]
    assert await renderer.render_many([]) == []
    renderer.close()


@EACH_NUMBER_OF_THREADS
async def test_email_that_cannot_be_built_stops_no_other(threads: int) -> None:
    emails = [*chain.from_iterable((email, UNBUILDABLE) for email in some_emails(20))]
    renderer = Renderer(threads)
    messages = await renderer.render_many(emails)
    assert messages[::2] == [render(email) for email in emails[::2]]
    assert all(isinstance(refusal, EmailNotBuildable) for refusal in messages[1::2])
    renderer.close()


async def test_calls_of_many_tasks_each_get_their_own_message() -> None:
    emails = some_emails(60)
    messages = await asyncio.gather(*map(render_async, emails))
    assert messages == [render(email) for email in emails]


async def test_refusal_is_raised_where_one_message_was_asked_for() -> None:
    with pytest.raises(EmailNotBuildable):
        await render_async(UNBUILDABLE)
    key = replace(make_dkim_key("ed25519-sha256"), private_key=b"nonsense")
    with pytest.raises(SigningKeyInvalid):
        await render_async(make_email(dkim_keys=(key,)))


async def test_fault_of_ours_is_raised_and_is_no_refusal() -> None:
    renderer = Renderer()
    faulty = make_email(created_at="not a time")
    with pytest.raises(AttributeError):
        await renderer.render_many([*some_emails(3), faulty])
    assert await renderer.render_many(some_emails(3))
    renderer.close()


async def test_task_that_gives_up_takes_no_other_with_it() -> None:
    renderer = Renderer(1)
    emails = some_emails(40)
    tasks = [asyncio.create_task(renderer.render(email)) for email in emails]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1::2] == [render(email) for email in emails[1::2]]
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    renderer.close()


async def test_closing_cancels_what_waits() -> None:
    renderer = Renderer(1)
    tasks = [asyncio.create_task(renderer.render(email)) for email in some_emails(40)]
    await asyncio.sleep(0)
    renderer.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, bytes | asyncio.CancelledError) for result in results)
    assert any(isinstance(result, asyncio.CancelledError) for result in results)
    with pytest.raises(RuntimeError, match="closed"):
        await renderer.render(make_email())


async def test_where_no_thread_can_start_whoever_waits_hears_of_it() -> None:
    usual = threading.stack_size(1 << 46)
    try:
        with pytest.raises(RuntimeError, match="thread"):
            await Renderer().render(make_email())
    finally:
        threading.stack_size(usual)


async def test_loop_goes_on_while_messages_are_made() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await render_async(make_email(attachments=(replace(LARGE, body=bytes(20_000_000)),)))
    counting.cancel()
    # Rendered in the loop, there would be two or three.
    assert turns > 10


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_each_event_loop_may_render(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    email = make_email()
    for _ in range(3):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            assert runner.run(render_async(email)) == render(email)
