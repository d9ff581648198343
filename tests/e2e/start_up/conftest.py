"""Data folder of a system that was started once, so that each test starts in a second."""

from pathlib import Path

import pytest

from tests.e2e.start_up.system import run_system


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with databases and sample data; its path has a blank in it."""
    folder = tmp_path_factory.mktemp("start up") / "data"
    with run_system(folder) as system:
        system.wait_for("Ready in")
    return folder


@pytest.fixture
def folder(prepared_folder: Path) -> Path:
    """The data folder, with the notes of earlier fake apps gone."""
    for note in (prepared_folder.parent / "notes").iterdir():
        note.unlink()
    return prepared_folder
