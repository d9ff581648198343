"""`tallypost clean-data`: start afresh."""

import shutil
from pathlib import Path

from tallypost_cli import checkout_lock
from tallypost_cli.supervisor import Say


def run(folder: Path, say: Say) -> None:
    """Delete a data folder, as long as nothing runs on it.

    Raises StartUpError where a supervisor does.
    """
    if not folder.exists():
        say(f"There is no data in {folder}")
        return
    with checkout_lock.hold(folder):
        shutil.rmtree(folder)
    say(f"Deleted {folder}")
