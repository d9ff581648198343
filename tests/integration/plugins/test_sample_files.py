"""The sample of a provider on a disk that is watched: what it says that it took stays there."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plugins import ROOT

# What a loss of power leaves behind cannot be tried, so the calls that guard against it are seen.
SOURCE = """
import asyncio
import os
import sys
from pathlib import Path

from tallypost_eml import EMLProvider, EMLSettings
from tests.unit.providers.emails import make_email

folder, fails_at = Path(sys.argv[1]), sys.argv[2]
fsync = os.fsync
stored = {}


def watched(descriptor):
    inode = os.fstat(descriptor).st_ino
    kind = {path.stat().st_ino: path.suffix for path in (folder, *folder.iterdir())}[inode]
    if (kind or "folder") == fails_at:
        raise OSError
    fsync(descriptor)
    # What of the message is there by then, and how long it is.
    stored[inode] = {path.suffix: path.stat().st_size for path in folder.iterdir()}


os.fsync = watched
settings = EMLSettings(folder=folder)
result = asyncio.run(EMLProvider(settings, "eml").send(make_email(), 10.0))
for path in folder.iterdir():
    inode, size = path.stat().st_ino, path.stat().st_size
    is_whole = size > 0 and size in stored.get(inode, {}).values()
    is_named = path.suffix in stored.get(folder.stat().st_ino, {})
    print(path.suffix, "stays" if is_whole and is_named else "may be lost")
print(result.recipients[0].outcome)
"""


@pytest.mark.parametrize(
    ("fails_at", "told"),
    [
        ("nowhere", {".eml stays", ".json stays", "accepted"}),
        (".json", {".json may be lost", "unavailable"}),
        (".part", {".json may be lost", ".part may be lost", "unavailable"}),
        # Somebody may have taken it by its name.
        ("folder", {".eml may be lost", ".json may be lost", "ambiguous"}),
    ],
)
def test_message_is_accepted_only_where_all_of_it_is_stored_under_its_name(
    sample_folder: Path, tmp_path: Path, fails_at: str, told: set[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SOURCE, str(tmp_path), fails_at],
        cwd=ROOT,
        env={"PYTHONPATH": str(sample_folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert set(done.stdout.splitlines()) == told
