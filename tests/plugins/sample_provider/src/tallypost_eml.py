"""A Tallypost provider that puts each message into a folder, from where something else takes it."""

import asyncio
import os
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import msgspec
from msgspec import Meta, Struct

from tallypost_core.settings import Secret
from tallypost_providers.base import same_for_all
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.message import render_async
from tallypost_providers.types import Capabilities, Outcome, OutgoingEmail, SendResult


class Envelope(Struct, frozen=True):
    """What stands beside a message in a file of its own, `NAME.json`."""

    sender: str
    recipients: tuple[str, ...]
    label: str | None


class EMLSettings(Struct, frozen=True):
    """The folder of messages."""

    folder: Annotated[Path, Meta(description="Folder that messages are put into; it exists.")]
    label: Annotated[
        Secret | None, Meta(description="Word that each envelope bears, for who reads the folder.")
    ] = None
    behaviour_file: Annotated[
        Path | None,
        Meta(
            description="For tests: file that says refuse, silent, late or lost. "
            "Without it all is well."
        ),
    ] = None


class EMLProvider:
    """A folder as a provider. A message is taken once its `.eml` file has its name."""

    name = "eml"
    settings = EMLSettings
    capabilities = Capabilities(
        raw_mime=True,
        keeps_message_id=True,
        keeps_envelope=True,
        signs_dkim=False,
        idempotent=False,
        lookup=False,
        events=False,
        # Live mail goes there, for somebody else to take on.
        reaches_outside=True,
    )
    rate_per_s: float | None = None

    def __init__(self, settings: EMLSettings, account: str) -> None:
        """Raises ProviderMisconfigured, which names the variable; touches no file."""
        if not settings.folder.is_absolute():
            raise ProviderMisconfigured("TALLYPOST_EML_FOLDER does not start at the root.")
        self.account = account
        self._settings = settings

    def find_obstacle(self, _email: OutgoingEmail) -> str | None:
        """A folder takes everything."""
        return None

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Put one email into the folder; see `types.Provider.send`."""
        message = await render_async(email)
        path = self._settings.folder / f"{email.email_id}.{uuid4().hex}.eml"
        may_be_taken = False
        try:
            async with asyncio.timeout(timeout_s):
                # A disk may take its time, and others wait for the event loop.
                await asyncio.to_thread(self._write, path, message, self._envelope(email))
                may_be_taken = True
                await asyncio.to_thread(self._give_name, path)
                await self._acknowledge()
        except OSError as error:
            # A TimeoutError is one too; the thread goes on then.
            detail = f"the folder did not answer: {type(error).__name__}"
            if may_be_taken:
                return same_for_all(email, Outcome.AMBIGUOUS, phase="final", detail=detail)
            # Without its name nobody takes the file.
            return same_for_all(email, Outcome.UNAVAILABLE, phase="data", detail=detail)
        return same_for_all(email, Outcome.ACCEPTED, phase="final", evidence={"file": path.name})

    async def close(self) -> None:
        """Nothing is kept open."""

    def _envelope(self, email: OutgoingEmail) -> bytes:
        label = self._settings.label
        envelope = Envelope(
            sender=email.envelope_sender,
            recipients=tuple(recipient.address for recipient in email.recipients),
            label=label.reveal() if label else None,
        )
        return msgspec.json.encode(envelope)

    def _write(self, path: Path, message: bytes, envelope: bytes) -> None:
        if self._behaviour() == "refuse":
            raise PermissionError
        _write_durably(path.with_suffix(".json"), envelope)
        _write_durably(path.with_suffix(".part"), message)

    def _give_name(self, path: Path) -> None:
        path.with_suffix(".part").rename(path)
        # The names of both files are in the folder, which has to be on the disk as well.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    async def _acknowledge(self) -> None:
        behaviour = self._behaviour()
        if behaviour == "silent":
            await asyncio.Event().wait()
        elif behaviour == "late":
            await asyncio.sleep(0.2)
        elif behaviour == "lost":
            raise ConnectionError

    def _behaviour(self) -> str:
        file = self._settings.behaviour_file
        return file.read_text().strip() if file and file.exists() else ""


def _write_durably(path: Path, content: bytes) -> None:
    """To accept is to be responsible, so it has to outlive a loss of power."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
