"""What the children write: one file each, which neither grows for ever nor is lost at once."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO

_MAX_BYTES = 64 * 1024 * 1024
_TAIL_BYTES = 16 * 1024
_TAIL_LINES = 15


class ChildLogs:
    """The log files of a data folder; the file before the last start is kept as `<name>.log.1`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where a child writes."""
        return self._folder / f"{name}.log"

    def rotate(self, name: str) -> None:
        """Begin a new file for a new start of the whole system."""
        path = self.path(name)
        if path.exists():
            path.replace(path.with_name(f"{path.name}.1"))

    def open(self, name: str) -> BinaryIO:
        """The file for a child's output. It must be in append mode: see `cap`."""
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "ab")

    def cap(self, name: str) -> None:
        """Set a file aside that has grown beyond 64 MB.

        The child keeps its descriptor, so the file is copied and emptied. As the child appends,
        it goes on at the new end; lines written between copy and emptying are lost.
        """
        path = self.path(name)
        if path.exists() and path.stat().st_size > _MAX_BYTES:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            with path.open("r+b") as file:
                file.truncate(0)

    def size(self, name: str) -> int:
        """Bytes written so far: a mark for `tail`."""
        path = self.path(name)
        return path.stat().st_size if path.exists() else 0

    def tail(self, name: str, since: int = 0) -> list[str]:
        """The last lines, at most 15, of what was written after a mark."""
        path = self.path(name)
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(max(since, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return text.splitlines()[-_TAIL_LINES:]
