"""Distributions with plugins: made up by a test, or the sample as pip installs it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "plugins" / "sample_provider"
SAMPLE_SUBSCRIBER = ROOT / "tests" / "plugins" / "sample_subscriber"

PIGEON = '''
from typing import Annotated

from msgspec import Meta, Struct

from tallypost_core.settings import Secret
from tallypost_providers.base import same_for_all
from tallypost_providers.types import Capabilities, Outcome


class PigeonSettings(Struct, frozen=True):
    """The loft."""

    loft: Annotated[str, Meta(description="Name of the loft.")]
    birds: Annotated[int, Meta(ge=1, description="Birds in it.")] = 3
    whistle: Annotated[Secret | None, Meta(description="What calls them.")] = None


class Pigeon:
    name = "pigeon"
    settings = PigeonSettings
    capabilities = Capabilities(
        raw_mime=True,
        keeps_message_id=True,
        keeps_envelope=True,
        signs_dkim=False,
        idempotent=False,
        lookup=False,
        events=False,
        reaches_outside=True,
    )
    rate_per_s = None

    def __init__(self, settings, account):
        self.account = account
        self.kept = settings

    def find_obstacle(self, email):
        return None

    async def send(self, email, timeout_s):
        return same_for_all(email, Outcome.ACCEPTED, phase="final")

    async def close(self):
        pass
'''
"""Source of a module with a provider that has all it needs."""


LISTENER = '''
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from tallypost_core.settings import Secret


class ListenerSettings(Struct, frozen=True):
    """What it keeps."""

    file: Annotated[Path, Meta(description="File that ids of events are added to.")]
    word: Annotated[Secret | None, Meta(description="A word.")] = None


class Listener:
    name = "listener"
    settings = ListenerSettings

    def __init__(self, settings):
        self.kept = settings

    async def handle(self, event):
        with self.kept.file.open("a") as file:
            file.write(f"{event.id}\\n")

    async def close(self):
        pass
'''
"""Source of a module with a subscriber that has all it needs."""


class Plugins:
    """A folder on the import path where a test installs distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self,
        name: str = "pigeon",
        source: str | None = PIGEON,
        *,
        distribution: str = "pigeon-post",
        value: str = "pigeon_post:Pigeon",
        group: str = "tallypost.providers",
    ) -> None:
        """Install a distribution with one entry point; without source its module is missing."""
        if source is not None:
            module = value.partition(":")[0]
            (self.folder / f"{module}.py").write_text(source)
        metadata = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """Plugins that are gone with the test, and so are their modules."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    before = set(sys.modules)
    yield Plugins(folder)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder where pip has installed the sample; on the import path it is a plugin."""
    return _install(SAMPLE, tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="session")
def sample_subscriber_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `sample_folder`, with the sample of a subscriber."""
    return _install(SAMPLE_SUBSCRIBER, tmp_path_factory.mktemp("sample_subscriber"))


def _install(distribution: Path, folder: Path) -> Path:
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            # It is built with what is here: a test fetches nothing.
            *("--no-index", "--no-deps", "--no-build-isolation"),
            *("--target", str(folder), str(distribution)),
        ],
        check=True,
    )
    return folder
