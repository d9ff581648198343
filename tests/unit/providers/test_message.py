"""A message is the same bytes wherever it is made, and a large one does not stop the loop."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from msgspec.structs import replace

from tallypost_providers.dkim import sign
from tallypost_providers.errors import EmailNotBuildable, SigningKeyInvalid
from tallypost_providers.message import render, render_async
from tallypost_providers.mime import build_message
from tallypost_providers.types import Attachment, OutgoingEmail
from tests.unit.providers.dkim_judge import verifies
from tests.unit.providers.emails import make_dkim_key, make_email
from tests.unit.providers.mail_shapes import SHAPES

LARGE = Attachment(filename="large.bin", content_type="a/b", body=bytes(300_000))
LIMIT_BYTES = 128 * 1024
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
    for attachments in ((), (LARGE,)):
        faulty = make_email(created_at="not a time", attachments=attachments)
        with pytest.raises(AttributeError):
            await render_async(faulty)


async def test_task_that_gives_up_takes_no_other_with_it() -> None:
    emails = [make_email(subject=f"Number {n}", attachments=(LARGE,)) for n in range(12)]
    tasks = [asyncio.create_task(render_async(email)) for email in emails]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1::2] == [render(email) for email in emails[1::2]]
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])


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


@pytest.mark.parametrize(
    ("html", "is_large"),
    [
        ("a" * LIMIT_BYTES, False),
        ("a" * (LIMIT_BYTES + 1), True),
        ("ש" * (LIMIT_BYTES // 2), False),
        ("ש" * (LIMIT_BYTES // 2 + 1), True),
        ("😀" * LIMIT_BYTES, True),
        ("😀" * (LIMIT_BYTES + 1), True),
    ],
)
async def test_size_that_matters_to_the_loop_is_in_bytes(html: str, *, is_large: bool) -> None:
    rendering = asyncio.create_task(render_async(make_email(html=html, text=None)))
    await asyncio.sleep(0)
    # What the loop makes itself is there as soon as the task has run.
    assert rendering.done() is not is_large
    assert b"text/html" in await rendering


async def test_half_a_surrogate_pair_is_refused_like_any_other_fault() -> None:
    with pytest.raises(EmailNotBuildable):
        await render_async(make_email(html="a\ud800"))


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_each_event_loop_may_render(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    email = make_email()
    for _ in range(3):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            assert runner.run(render_async(email)) == render(email)
