"""The sample before the contract suite: a folder, and a file that tells it to misbehave."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from tallypost_eml import (  # type: ignore[import-not-found]  # There once pip has installed it.
    EMLProvider,
    EMLSettings,
    Envelope,
)

from tests.contract.providers.cases import Case, Delivery


@asynccontextmanager
async def eml_case() -> AsyncIterator[Case]:
    """The provider with a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder, behaviour = Path(name), Path(name, "behaviour")

        def deliveries() -> list[Delivery]:
            paths = sorted(folder.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
            return [read(path) for path in paths]

        provider = EMLProvider(EMLSettings(folder=folder, behaviour_file=behaviour), "eml")
        try:
            yield Case(
                provider,
                deliveries,
                fail=lambda: write(behaviour, "refuse"),
                fall_silent=lambda: write(behaviour, "silent"),
                answer_late=lambda: write(behaviour, "late"),
                lose_answer=lambda: write(behaviour, "lost"),
                recover=lambda: behaviour.unlink(missing_ok=True),
            )
        finally:
            await provider.close()


def read(path: Path) -> Delivery:
    """One message with its envelope."""
    envelope = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Envelope)
    return Delivery(envelope.recipients, path.read_bytes())


def write(file: Path, word: str) -> None:
    """Let the provider find a word there."""
    file.write_text(word)
