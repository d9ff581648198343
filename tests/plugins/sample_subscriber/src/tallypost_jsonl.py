"""A Tallypost subscriber that writes events into a file, from where something else reads them."""

import asyncio
import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tallypost_core.plugin_events import StoredEvent, SubscriberMisconfigured


class JSONLSettings(Struct, frozen=True):
    """The file of events."""

    path: Annotated[Path, Meta(description="File that events are added to; its folder exists.")]
    types: Annotated[
        tuple[str, ...] | None,
        Meta(description="Types that are written, such as email.sent. Unset, all are."),
    ] = None
    behaviour_file: Annotated[
        Path | None,
        Meta(
            description="For tests: file that says raise, wait, block, exit, or crash and the id "
            "of an event. Without it all is well."
        ),
    ] = None


class JSONLSubscriber:
    """A file as a subscriber. An event is handled once its line is written."""

    name = "jsonl"
    settings = JSONLSettings

    def __init__(self, settings: JSONLSettings) -> None:
        """Raises SubscriberMisconfigured, which names the variable; touches no file."""
        if not settings.path.is_absolute():
            raise SubscriberMisconfigured("TALLYPOST_JSONL_PATH does not start at the root.")
        self._settings = settings

    async def handle(self, event: StoredEvent) -> None:
        """Add one line; see `plugin_events.Subscriber.handle`."""
        if self._settings.types is not None and event.type not in self._settings.types:
            return
        await self._misbehave(event)
        line = msgspec.json.encode(event) + b"\n"
        # A file may block: this thread is ours alone.
        with self._settings.path.open("ab", buffering=0) as file:
            # Workers take turns, so that lines do not mix and cutting back takes nobody else's.
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            # A disk that is full takes a part and raises nothing.
            if file.write(line) != len(line):
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _misbehave(self, event: StoredEvent) -> None:
        behaviour = self._behaviour()
        if behaviour == "raise":
            # Nothing of an event is shown anywhere, whatever an error says.
            raise ConnectionRefusedError("canary-of-an-error")
        if behaviour == "exit":
            raise SystemExit
        if behaviour == f"crash {event.id}":
            # Others are under way by then.
            await asyncio.sleep(0.2)
            os._exit(1)
        if behaviour == "wait":
            await asyncio.Event().wait()
        while self._behaviour() == "block":
            time.sleep(0.05)  # noqa: ASYNC251 - what no subscriber should do, for the tests

    def _behaviour(self) -> str:
        file = self._settings.behaviour_file
        return file.read_text().strip() if file and file.exists() else ""
