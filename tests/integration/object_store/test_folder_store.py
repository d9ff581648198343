"""What only a folder can show: access rights, atomic replacement, leftovers, full disks."""

import os
import stat
import time
from pathlib import Path

import pytest

from tallypost_core.object_store import FolderStore, ObjectStoreUnavailable

KEY = "tenant/email/1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "objects"


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def modes_of_folders(root: Path) -> set[int]:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    return {stat.S_IMODE(folder.stat().st_mode) for folder in folders}


def replace_by_file(root: Path) -> None:
    (root / ".incoming").rmdir()
    root.rmdir()
    root.write_bytes(b"")


async def test_only_the_owner_may_read_even_under_a_loose_umask(root: Path) -> None:
    before = os.umask(0)
    try:
        await FolderStore(root).put(KEY, b"body")
    finally:
        os.umask(before)
    assert modes_of_folders(root) == {0o700}
    assert stat.S_IMODE((root / KEY).stat().st_mode) == 0o600


async def test_reader_of_the_old_body_is_not_disturbed_by_a_new_one(root: Path) -> None:
    store = FolderStore(root)
    await store.put(KEY, b"old body")
    with (root / KEY).open("rb") as reader:
        assert reader.read(3) == b"old"
        await store.put(KEY, b"new")
        assert reader.read() == b" body"
    assert await store.get(KEY) == b"new"


async def test_objects_outlive_the_store_that_wrote_them(root: Path) -> None:
    await FolderStore(root).put(KEY, b"body")
    assert await FolderStore(root).get(KEY) == b"body"


async def test_failed_put_keeps_the_old_body_and_leaves_no_file_behind(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(root)
    await store.put(KEY, b"old")

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(ObjectStoreUnavailable):
            await store.put(KEY, b"new")
    assert await store.get(KEY) == b"old"
    assert files_below(root) == [root / KEY]


async def test_put_reaches_the_disk_before_it_returns(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    await FolderStore(root).put(KEY, b"body")
    # The parents of both new folders, then the file under its temporary name, then its folder.
    assert synced[:2] == ["objects", "tenant"]
    assert len(synced[2]) == 32
    assert synced[3:] == ["email"]


def test_new_store_drops_old_leftovers_and_spares_what_is_being_written(root: Path) -> None:
    FolderStore(root)
    old, fresh = root / ".incoming" / "old", root / ".incoming" / "fresh"
    for path in (old, fresh):
        path.write_bytes(b"part of a body")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    FolderStore(root)
    assert not old.exists()
    assert fresh.exists()


def test_folder_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ObjectStoreUnavailable):
        FolderStore(tmp_path / "file" / "objects")


async def test_folder_that_went_away_is_a_typed_error(root: Path) -> None:
    store = FolderStore(root)
    replace_by_file(root)
    with pytest.raises(ObjectStoreUnavailable):
        await store.put(KEY, b"body")
