"""Where large attachments live: a folder or an S3 bucket, behind one seam.

Keys are made by us, from ids. A store gives back exactly the bytes that were put last under a
key, and a put that returned survives a crash.
"""

import asyncio
import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from tallypost_core.errors import AppError, ErrorKind
from tallypost_core.settings.groups import ObjectsSettings

MAX_KEY_LENGTH = 512

_INCOMING = ".incoming"
_ABANDONED_AFTER_S = 24 * 3600

# A part never starts with a dot: that rules out `.` and `..`, and leaves dotted names to stores.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,199})*")


class ObjectNotFound(Exception):
    """The store has no object under this key."""


class ObjectStoreUnavailable(AppError):
    """The object store does not answer as it should; try again later."""

    code = "object_store_unavailable"
    kind = ErrorKind.UNAVAILABLE


class ObjectStore(Protocol):
    """Bytes by key. Every operation may be repeated without changing its result.

    All raise ValueError for a malformed key and ObjectStoreUnavailable where the store fails.
    """

    async def put(self, key: str, body: bytes) -> None:
        """Store body under key, replacing what was there; durable once this returns."""
        ...

    async def get(self, key: str) -> bytes:
        """The bytes stored under key; raises ObjectNotFound where there are none."""
        ...

    async def delete(self, key: str) -> None:
        """Remove what is stored under key, if anything is."""
        ...

    async def close(self) -> None:
        """Give back connections. The store is not used afterwards."""
        ...


class FolderStore:
    """Objects as files of one folder tree, readable by this user only.

    A put writes a file in `.incoming`, flushes it to the disk and renames it into place, so a
    reader sees the old bytes or the new ones, never a part. Whoever writes must be able to
    rename within the folder: it is one file system. The disk is waited for in a thread.
    """

    def __init__(self, root: Path) -> None:
        """Make the folder where it is missing and drop what a crash left in `.incoming`."""
        self._root = root
        self._incoming = root / _INCOMING
        with _translated():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._incoming.mkdir(mode=0o700, exist_ok=True)
            _remove_abandoned(self._incoming)

    async def put(self, key: str, body: bytes) -> None:
        """Store body under key, replacing what was there; durable once this returns."""
        await asyncio.to_thread(self._write, self._path(key), body)

    async def get(self, key: str) -> bytes:
        """The bytes stored under key; raises ObjectNotFound where there are none."""
        return await asyncio.to_thread(_read, self._path(key), key)

    async def delete(self, key: str) -> None:
        """Remove what is stored under key, if anything is."""
        await asyncio.to_thread(_remove, self._path(key))

    async def close(self) -> None:
        """Nothing to give back."""

    def _path(self, key: str) -> Path:
        return self._root / require_key(key)

    def _write(self, path: Path, body: bytes) -> None:
        with _translated():
            self._make_folder(path.parent)
            temporary = self._incoming / secrets.token_hex(16)
            try:
                _write_durably(temporary, body)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        # The name of a new folder is durable only once its parent is.
        _sync_folder(folder.parent)


def open_store(settings: ObjectsSettings) -> ObjectStore:
    """The store that the settings name; raises ValueError where the address is malformed.

    A folder is created here; S3 is first contacted by the first operation.
    """
    address = urlsplit(settings.url)
    if address.query or address.fragment or "@" in address.netloc:
        raise ValueError("TALLYPOST_OBJECTS_URL takes no query, fragment or credentials")
    if address.scheme == "file":
        folder = Path(unquote(address.path))
        if address.netloc or not folder.is_absolute():
            raise ValueError("TALLYPOST_OBJECTS_URL needs an absolute path: file:///folder")
        return FolderStore(folder)
    if address.scheme == "s3":
        prefix = address.path.strip("/")
        if not address.netloc or (prefix and not _KEY.fullmatch(prefix)):
            raise ValueError("TALLYPOST_OBJECTS_URL needs the form s3://bucket/prefix")
        # Imported only where it is used: aioboto3 takes more than a second.
        from tallypost_core.s3_store import S3Store

        return S3Store(address.netloc, prefix, settings.s3_endpoint_url)
    raise ValueError("TALLYPOST_OBJECTS_URL starts with file:/// or s3://")


def require_key(key: str) -> str:
    """The key itself where it is well-formed; raises ValueError otherwise.

    Well-formed: parts of letters, digits, `.`, `_`, `-` that do not start with a dot, joined by
    `/`, at most 512 characters in all. Nothing of the kind can leave a folder.
    """
    if len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise ValueError("malformed object key")
    return key


def _write_durably(path: Path, body: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, key: str) -> bytes:
    with _translated():
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectNotFound(key) from None


def _remove(path: Path) -> None:
    with _translated(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(incoming: Path) -> None:
    oldest = time.time() - _ABANDONED_AFTER_S
    for entry in incoming.iterdir():
        # Another process may finish or remove the same file meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if entry.stat().st_mtime < oldest:
                entry.unlink()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ObjectStoreUnavailable from error
