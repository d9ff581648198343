"""The sample of a subscriber on a disk that takes half a line: it owns to it and cuts it off."""

import subprocess
import sys
from pathlib import Path

import pytest

# A limit on the size of files stands for a disk that is full. It is of the whole process.
SOURCE = """
import asyncio
import datetime as dt
import resource
import sys
from pathlib import Path
from uuid import uuid4

from tallypost_core.plugin_events import StoredEvent
from tallypost_jsonl import JSONLSettings, JSONLSubscriber

path, size_bytes = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))
event = StoredEvent(
    id=uuid4(),
    tenant_id=uuid4(),
    mode="live",
    type="email.sent",
    subject_id=uuid4(),
    recipient_id=None,
    data={},
    created_at=dt.datetime.now(dt.UTC),
)
try:
    asyncio.run(JSONLSubscriber(JSONLSettings(path=path)).handle(event))
except OSError as error:
    print("raised", type(error).__name__)
else:
    print("returned")
"""
LINES = b"x" * 900 + b"\n"


@pytest.mark.parametrize(
    ("size_bytes", "told"), [(1000, "raised OSError"), (901, "raised OSError"), (9000, "returned")]
)
def test_event_counts_as_handled_only_where_its_whole_line_is_there(
    sample_subscriber_folder: Path, tmp_path: Path, size_bytes: int, told: str
) -> None:
    path = tmp_path / "events"
    path.write_bytes(LINES)
    done = subprocess.run(
        [sys.executable, "-c", SOURCE, str(path), str(size_bytes)],
        env={"PYTHONPATH": str(sample_subscriber_folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == told
    added = path.read_bytes().removeprefix(LINES)
    if told == "returned":
        assert added.startswith(b'{"id":')
        assert added.endswith(b"}\n")
    else:
        assert added == b""
