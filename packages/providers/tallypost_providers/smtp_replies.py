"""Reads SMTP replies out of bytes, however the network cut these into pieces."""

from collections import deque

from tallypost_providers.smtp_failures import Reply

# RFC 5321, section 4.5.3.1.5 allows 512 bytes for a line of a reply, and RFC 4954, section 4
# allows 12,288 for a challenge. An EHLO reply has some twenty lines. A peer that goes beyond
# would have us keep its words without end.
REPLY_MAX_BYTES = 16_384
REPLY_MAX_LINES = 128

# RFC 5321, section 4.2: three digits. 1yz asks for a confirmation that SMTP does not have.
_CODES = {str(code).encode("ascii"): code for code in range(200, 600)}
# After the code: the last line, a further line to come, or no text at all.
_MARKS = frozenset({b" ", b"-", b"\r", b""})


class ReplyMalformed(Exception):
    """Bytes came that are no SMTP reply."""


class ReplyReader:
    """Takes bytes as they come; one for each stream of replies."""

    def __init__(self) -> None:
        self._rest = b""
        self._code = 0
        self._lines: list[str] = []
        self._size_bytes = 0

    @property
    def is_between_replies(self) -> bool:
        """True where no reply has begun and not ended."""
        return not self._rest and not self._lines

    def feed(self, data: bytes, replies: deque[Reply]) -> None:
        """Append every reply that data completes.

        A bare line feed ends a line too, as some peers have it.
        Raises ReplyMalformed for bytes that are no reply, and for a reply that is too long; the
        replies before it were appended. Nothing can be read after that.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take_line(line, replies)
        if self._size_bytes + len(self._rest) > REPLY_MAX_BYTES:
            raise ReplyMalformed

    def _take_line(self, line: bytes, replies: deque[Reply]) -> None:
        code = _CODES.get(line[:3])
        mark = line[3:4]
        if code is None or mark not in _MARKS:
            raise ReplyMalformed
        # Bytes that are not UTF-8 become surrogates, which `base.clip` replaces.
        text = line[4:].decode("utf-8", "surrogateescape").strip()
        if mark == b"-" or self._lines:
            self._add_line(code, text, len(line))
            text = "\n".join(self._lines)
        elif len(line) >= REPLY_MAX_BYTES:
            raise ReplyMalformed
        if mark != b"-":
            replies.append(Reply(code, text))
            if self._lines:
                self._lines = []
                self._size_bytes = 0

    def _add_line(self, code: int, text: str, line_bytes: int) -> None:
        # RFC 5321, section 4.2.1: every line of a reply has the same code. With two of them
        # nobody knows which one is meant.
        if self._lines and code != self._code:
            raise ReplyMalformed
        self._code = code
        self._lines.append(text)
        self._size_bytes += line_bytes + 1
        if self._size_bytes > REPLY_MAX_BYTES or len(self._lines) > REPLY_MAX_LINES:
            raise ReplyMalformed
