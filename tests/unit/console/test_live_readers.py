"""Whoever follows a live view: how many at once, for how long, and what they leave behind."""

import asyncio
import itertools
from uuid import UUID

import pytest

from tallypost_console import live
from tallypost_console.errors import TooManyStreams
from tallypost_console.live import MAX_STREAMS, Reader
from tallypost_core.ids import new_id
from tests.unit.console.live_clients import (
    KEY,
    NEVER_S,
    SOON_S,
    Client,
    ScriptedView,
    live_views,
    open_page,
    read,
    somebody,
    wait_until_only,
)


async def test_a_person_may_follow_so_many_streams_and_no_more() -> None:
    person = somebody()
    async with live_views() as views:
        for number in range(MAX_STREAMS):
            await open_page(views, ScriptedView(), reader=person, key=number)
        with pytest.raises(TooManyStreams):
            views.follow(person, "one more", ScriptedView(), None)
        await open_page(views, ScriptedView(), reader=somebody(), key="of somebody else")


async def test_a_stream_counts_before_anybody_reads_it() -> None:
    person = somebody()
    async with live_views() as views:
        opened = [views.follow(person, KEY, ScriptedView(), None) for _ in range(MAX_STREAMS)]
        with pytest.raises(TooManyStreams):
            views.follow(person, KEY, ScriptedView(), None)
        assert len(opened) == MAX_STREAMS


async def test_stream_that_never_begins_makes_room_for_another() -> None:
    person = somebody()
    async with live_views() as views:
        for _ in range(MAX_STREAMS + 1):
            views.follow(person, KEY, ScriptedView(), None)
        await open_page(views, ScriptedView(), reader=person)


async def test_closed_stream_makes_room_for_another() -> None:
    person = somebody()
    async with live_views() as views:
        clients = [await open_page(views, ScriptedView(), reader=person) for _ in range(5)]
        await clients[2].close()
        await open_page(views, ScriptedView(), reader=person)


async def test_stream_that_failed_makes_room_too() -> None:
    person = somebody()
    async with live_views() as views:
        for _ in range(MAX_STREAMS + 1):
            client = await open_page(views, ScriptedView(ValueError()), reader=person)
            with pytest.raises(ValueError, match=r"^$"):
                await client.next()


async def test_heartbeats_come_while_nothing_changes() -> None:
    view = ScriptedView("one")
    async with live_views(heartbeat_s=SOON_S) as views:
        client = await open_page(views, view)
        assert await read(client) == "one"
        for _ in range(3):
            await client.hear_beat()


async def test_reader_who_is_no_longer_welcome_is_ended() -> None:
    async with live_views(heartbeat_s=SOON_S) as views:
        client = await open_page(views, ScriptedView(), reader=somebody(is_welcome=False))
        assert await client.next() is None


async def test_so_is_one_whose_view_changes_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(live, "monotonic_s", lambda: now_s)
    texts = map(str, itertools.count())

    async def restless() -> str:
        return next(texts)

    async with live_views() as views:
        reader = somebody(is_welcome=False)
        client = Client(views.follow(reader, KEY, restless, None))
        for _ in range(3):
            assert await client.next()
            now_s += NEVER_S / 3
        assert await client.next() is None


async def test_other_readers_stay_when_one_is_ended() -> None:
    view = ScriptedView("one")
    async with live_views(heartbeat_s=SOON_S) as views:
        stays = await open_page(views, view)
        leaves = await open_page(views, view, reader=somebody(is_welcome=False))
        while await leaves.next():
            pass
        view.change("two")
        while await read(stays) != "two":
            pass


async def test_closing_ends_all_streams_and_those_to_come() -> None:
    asked: list[UUID] = []
    reader_id = new_id()

    async def is_welcome() -> bool:
        asked.append(reader_id)
        return True

    reader = Reader(reader_id, is_welcome)
    async with live_views() as views:
        read_already = await open_page(views, ScriptedView("one"), reader=reader)
        assert await read(read_already) == "one"
        waiting = await open_page(views, ScriptedView(), reader=reader, key="another")
        ends = asyncio.gather(read_already.next(), waiting.next())
        await asyncio.sleep(0)
        views.close()
        assert [*await ends] == [None, None]
        late = await open_page(views, ScriptedView("two"), reader=reader)
        assert await late.next() is None
    # By then the database may be gone.
    assert not asked


async def test_rendering_ends_with_the_last_reader() -> None:
    before = asyncio.all_tasks()
    view = ScriptedView("one")
    async with live_views() as views:
        clients = [await open_page(views, view) for _ in range(2)]
        await clients[0].close()
        assert await read(clients[1]) == "one"
        assert asyncio.all_tasks() - before
        await clients[1].close()
        await wait_until_only(before)


async def test_rendering_begins_anew_with_the_next_reader() -> None:
    async with live_views() as views:
        first = await open_page(views, ScriptedView("one"))
        assert await read(first) == "one"
        await first.close()
        assert await read(await open_page(views, ScriptedView("two"))) == "two"
