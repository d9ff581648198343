"""Takes in the body of an answer within a budget of bytes, counted after decompression."""

import zlib
from collections.abc import AsyncIterable, Iterator

from tallypost_resilience.egress_rules import EgressFailed, EgressTooLarge

# zlib's own number for a gzip header and its largest window.
_GZIP = 31
_PIECE_BYTES = 64 * 1024


class ByteBudget:
    """Bytes that one answer, or several together, may take up."""

    def __init__(self, limit_bytes: int) -> None:
        self.left_bytes = limit_bytes

    def spend(self, count: int) -> None:
        """Take count bytes; raises EgressTooLarge where fewer are left."""
        if count > self.left_bytes:
            raise EgressTooLarge
        self.left_bytes -= count


async def read_body(chunks: AsyncIterable[bytes], encoding: str, budget: ByteBudget) -> bytes:
    """The whole body; encoding is the answer's `Content-Encoding`, empty for none.

    However small a compressed body is, never more than 64 kB beyond the budget are unpacked.
    Raises EgressTooLarge, and EgressFailed for an encoding other than gzip, or one that breaks
    off: half a file must not pass for the whole.
    """
    name = encoding.strip().lower()
    if name not in {"", "identity", "gzip", "x-gzip"}:
        raise EgressFailed("The server's answer is compressed in a way that is not supported.")
    unpacker = _GzipUnpacker() if name.endswith("gzip") else None
    # Packed bytes that unpack to nothing are bounded too.
    packed_left = ByteBudget(budget.left_bytes + _PIECE_BYTES)
    body = bytearray()
    async for chunk in chunks:
        packed_left.spend(len(chunk))
        for piece in unpacker.unpack(chunk) if unpacker else (chunk,):
            budget.spend(len(piece))
            body += piece
    if unpacker is not None and not unpacker.is_complete:
        raise EgressFailed("The server's answer breaks off.")
    return bytes(body)


class _GzipUnpacker:
    """Gives out what it unpacks in small pieces, so that whoever counts can stop it."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        # An empty body is complete without any member.
        self.is_complete = True

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        """The pieces that these bytes unpack to; raises EgressFailed where they are no gzip."""
        while packed:
            try:
                yield self._member.decompress(packed, _PIECE_BYTES)
            except zlib.error:
                raise EgressFailed("The server's answer is not what it says it is.") from None
            self.is_complete = self._member.eof
            packed = self._member.unconsumed_tail
            if self._member.eof:
                # Members may follow each other (RFC 1952, 2.2).
                packed = self._member.unused_data
                self._member = zlib.decompressobj(_GZIP)
