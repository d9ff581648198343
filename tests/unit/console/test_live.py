"""Live views: rendered once for all who follow them, and lost by nobody."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tallypost_console import live
from tallypost_console.live import LONGEST_REST_S
from tallypost_core.errors import AppError, ErrorKind
from tests.unit.console.live_clients import SOON_S, ScriptedView, live_views, open_page, read


class CalmError(AppError):
    """Something is away for a while."""

    code = "calm"


class GoneError(AppError):
    """What is shown is not there any more."""

    code = "gone"
    kind = ErrorKind.NOT_FOUND


async def test_stream_says_at_once_that_it_is_live() -> None:
    async with live_views() as views:
        await open_page(views, ScriptedView())


async def test_new_reader_gets_the_view_as_it_is() -> None:
    async with live_views() as views:
        client = await open_page(views, ScriptedView("one"))
        assert await read(client) == "one"


async def test_many_readers_share_each_rendering() -> None:
    view = ScriptedView("one")
    async with live_views() as views:
        clients = [await open_page(views, view) for _ in range(3)]
        # Each turn exists once: a reader with a rendering of its own would take it from the others.
        assert [await read(client) for client in clients] == ["one"] * 3
        view.change("two")
        assert [await read(client) for client in clients] == ["two"] * 3
        assert view.renders == 2


async def test_reader_who_comes_later_gets_what_is_shown_already() -> None:
    view = ScriptedView("one")
    async with live_views() as views:
        await read(await open_page(views, view))
        assert await read(await open_page(views, view)) == "one"
        assert view.renders == 1


async def test_what_has_not_changed_is_not_sent_again() -> None:
    view = ScriptedView("one", "one", "one", "two")
    async with live_views() as views:
        client = await open_page(views, view)
        assert [await read(client), await read(client)] == ["one", "two"]
        assert client.heartbeats == 0


async def test_slow_reader_gets_the_newest_view_and_none_in_between() -> None:
    view = ScriptedView("one")
    async with live_views() as views:
        slow, quick = await open_page(views, view), await open_page(views, view)
        assert await read(slow) == "one"
        view.change("two", "three")
        while await read(quick) != "three":
            pass
        assert await read(slow) == "three"


async def test_two_views_do_not_mix() -> None:
    async with live_views() as views:
        ours = await open_page(views, ScriptedView("ours"), key=("/emails", "a tenant"))
        theirs = await open_page(views, ScriptedView("theirs"), key=("/emails", "another tenant"))
        assert await read(ours) == "ours"
        assert await read(theirs) == "theirs"


async def test_reader_who_comes_back_to_the_same_view_gets_nothing_until_it_changes() -> None:
    view = ScriptedView("one")
    async with live_views(heartbeat_s=SOON_S) as views:
        stays = await open_page(views, view)
        first = await stays.next()
        assert first is not None
        back = await open_page(views, view, last_id=first.id)
        await back.hear_beat()
        view.change("two")
        assert await read(back) == "two"


async def test_reader_who_comes_back_to_another_view_gets_it_at_once() -> None:
    view = ScriptedView("one")
    async with live_views() as views:
        stays = await open_page(views, view)
        missed = await stays.next()
        view.change("two")
        await stays.next()
        assert missed is not None
        assert await read(await open_page(views, view, last_id=missed.id)) == "two"


async def test_view_that_returns_to_what_it_was_has_the_same_id_again() -> None:
    view = ScriptedView("one")
    async with live_views() as views:
        client = await open_page(views, view)
        ids = []
        for text in ("two", "one", "two"):
            message = await client.next()
            assert message is not None
            ids.append(message.id)
            view.change(text)
        assert ids[0] == ids[2] != ids[1]


async def test_view_that_is_away_for_a_while_is_tried_again() -> None:
    view = ScriptedView("one", CalmError(), CalmError(), "two")
    async with live_views() as views:
        client = await open_page(views, view)
        assert [await read(client), await read(client)] == ["one", "two"]


async def test_log_says_once_that_a_view_is_away_and_once_that_it_is_back() -> None:
    view = ScriptedView("one", *[CalmError() for _ in range(5)], "two", CalmError(), "three")
    async with live_views() as views:
        client = await open_page(views, view)
        with capture_logs() as logs:
            while await read(client) != "three":
                pass
    turn = [("live.unavailable", "calm", "warning"), ("live.available", None, "info")]
    assert [(each["event"], each.get("error"), each["log_level"]) for each in logs] == turn * 2


async def test_view_that_is_away_rests_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rests_s: list[float] = []
    sleep = asyncio.sleep

    async def rest(delay_s: float) -> None:
        rests_s.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", rest)
    monkeypatch.setattr(live, "monotonic_s", lambda: 0.0)
    view = ScriptedView(*[CalmError() for _ in range(20)], "one")
    async with live_views() as views:
        client = await open_page(views, view)
        assert await read(client) == "one"
    assert rests_s[:3] == [SOON_S * 2, SOON_S * 4, SOON_S * 8]
    assert rests_s[19] == LONGEST_REST_S
    assert rests_s[20:] == [SOON_S]


async def test_unexpected_error_ends_the_stream_with_that_error() -> None:
    view = ScriptedView("one")
    async with live_views() as views:
        client = await open_page(views, view)
        assert await read(client) == "one"
        view.change(ZeroDivisionError("a bug"))
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await client.next()


async def test_reader_who_was_busy_hears_of_the_error_too() -> None:
    view = ScriptedView("one")
    async with live_views() as views:
        busy, waiting = await open_page(views, view), await open_page(views, view)
        assert [await read(busy), await read(waiting)] == ["one", "one"]
        view.change(ZeroDivisionError("a bug"))
        with pytest.raises(ZeroDivisionError):
            await waiting.next()
        with pytest.raises(ZeroDivisionError):
            await busy.next()


async def test_view_of_what_is_gone_ends_for_all_its_readers() -> None:
    view = ScriptedView("one")
    async with live_views() as views:
        waiting, busy = await open_page(views, view), await open_page(views, view)
        assert [await read(waiting), await read(busy)] == ["one", "one"]
        view.change(GoneError())
        assert [await waiting.next(), await busy.next()] == [None, None]
        # Nobody who comes now is left with a view that is not rendered any more.
        assert await read(await open_page(views, ScriptedView("two"))) == "two"


async def test_rendering_that_somebody_else_cancelled_ends_the_stream() -> None:
    async with live_views() as views:
        client = await open_page(views, ScriptedView("one", asyncio.CancelledError()))
        assert await read(client) == "one"
        assert await client.next() is None


async def test_failed_view_that_a_slow_reader_holds_is_rendered_anew_for_others() -> None:
    view = ScriptedView("one")
    async with live_views() as views:
        slow, quick = await open_page(views, view), await open_page(views, view)
        assert [await read(slow), await read(quick)] == ["one", "one"]
        view.change(ZeroDivisionError("a bug"))
        with pytest.raises(ZeroDivisionError):
            await quick.next()
        other = await open_page(views, ScriptedView("two"))
        assert await read(other) == "two"
        await other.close()
        await slow.close()


TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from("\n\r: \u2028\x0b\x1c\0"))


@given(TEXTS | st.sampled_from(["", "\n", "a\r\n\r\nid: 1\n", "data: x", ": no comment", " a "]))
def test_view_of_any_lines_arrives_whole(text: str) -> None:
    async def follow() -> str | None:
        async with live_views() as views:
            client = await open_page(views, ScriptedView(text))
            arrived = await read(client)
            await client.close()
            return arrived

    assert asyncio.run(follow()) == text.replace("\r\n", "\n").replace("\r", "\n")
