"""A span for each operation of an object store that a traced request or email waits for.

The store itself stands below this package, so it is wrapped where an app opens it.
"""

from typing import Final

from tallypost_core.object_store import ObjectStore, open_store
from tallypost_core.settings.groups import ObjectsSettings
from tallypost_telemetry import conventions as names
from tallypost_telemetry import tracing

_S3: Final = "s3"
_FOLDER: Final = "folder"


def open_traced_store(settings: ObjectsSettings) -> ObjectStore:
    """As `open_store`, with spans."""
    system = _S3 if settings.url.startswith("s3:") else _FOLDER
    return TracedStore(open_store(settings), system)


class TracedStore:
    """An object store around another. Keys are not noted: an email's id says enough."""

    def __init__(self, store: ObjectStore, system: str) -> None:
        self._store = store
        self._system = system

    async def put(self, key: str, body: bytes) -> None:
        """Store body under key, replacing what was there; durable once this returns."""
        with self._span("put") as span:
            if span:
                span.note({names.OBJECT_SIZE_BYTES: len(body)})
            await self._store.put(key, body)

    async def get(self, key: str) -> bytes:
        """The bytes stored under key; raises ObjectNotFound where there are none."""
        with self._span("get") as span:
            body = await self._store.get(key)
            if span:
                span.note({names.OBJECT_SIZE_BYTES: len(body)})
        return body

    async def delete(self, key: str) -> None:
        """Remove what is stored under key, if anything is."""
        with self._span("delete"):
            await self._store.delete(key)

    async def close(self) -> None:
        """Give back connections. The store is not used afterwards."""
        await self._store.close()

    def _span(self, operation: str) -> tracing.Span:
        return tracing.child(
            f"{operation} object", tracing.Kind.CLIENT, {names.OBJECT_STORE: self._system}
        )
