"""Writes header values: 7-bit, folded, and impossible to break out of.

The standard library's folder loses quotes around a display name when it breaks a line, splits
long tokens at random places and, in some releases, lets line ends through; so that every value
leaves here final, and `mime` writes it as it is.
"""

import binascii
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from tallypost_providers.addresses import Mailbox, require_printable
from tallypost_providers.errors import EmailNotBuildable

_FOLD = "\r\n "
_LINE_CHARS = 76  # RFC 2047, section 2, for a line that holds an encoded word.
_LINE_MAX_CHARS = 998  # RFC 5322, section 2.1.1, without the line end.
_WORD_OVERHEAD_CHARS = len("=?utf-8?B??=")
# A word in 4 base64 characters per 3 bytes: 45 bytes make 72 characters, below the limit of 75.
_WORD_BYTES = 45
_SHORTEST_WORD_BYTES = 9
_TOKEN = re.compile(r" *[^ ]+")
_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_QUOTABLE_NAME_CHARS = 60
_PARAMETER_CHARS = 60
# With ` filename*0*=utf-8''` before it and a semicolon after it, still a short line.
_PIECE_CHARS = 54


def encode_text(name: str, text: str) -> str:
    """The value of an unstructured header such as Subject; a reader gets the same text back.

    Raises EmailNotBuildable for control characters.
    """
    start = len(name) + len(": ")
    is_plain = _is_plain(text)
    if is_plain and start + len(text) <= _LINE_CHARS:
        return text
    require_printable(text, name)
    if is_plain and _longest_token(text) <= _LINE_CHARS - start:
        return _fold_tokens(text, start)
    return _FOLD.join(_encoded_words(text, start))


def encode_as_written(name: str, value: str) -> str:
    """A tenant's header value as it is, folded at its spaces only.

    The platform cannot know the syntax of every header, so ASCII is never turned into encoded
    words: that would destroy a URL in List-Unsubscribe. Other text has no other form.
    Raises EmailNotBuildable for control characters and for a word too long for any line.
    """
    require_printable(value, name)
    value = value.strip(" \t")
    start = len(name) + len(": ")
    if not value.isascii():
        return _FOLD.join(_encoded_words(value, start))
    if _longest_token(value) + start > _LINE_MAX_CHARS:
        raise EmailNotBuildable("A header value is too long to fold.", field=name)
    return _fold_tokens(value, start)


def encode_mailboxes(name: str, mailboxes: Iterable[Mailbox]) -> str:
    """The value of an address header such as To: one line for each address."""
    start = len(name) + len(": ")
    return f",{_FOLD}".join(
        _encode_mailbox(mailbox, 1 if position else start)
        for position, mailbox in enumerate(mailboxes)
    )


def encode_parameter(name: str, text: str) -> str:
    """A MIME parameter with its separator, such as `; filename="a.txt"`, each on its own line.

    Text outside the plain characters takes the form of RFC 2231, in numbered pieces where long.
    Raises EmailNotBuildable for control characters.
    """
    require_printable(text, name)
    is_quotable = _is_plain(text) and not set(text) & set('"\\')
    if is_quotable and len(text) <= _PARAMETER_CHARS:
        return f';{_FOLD}{name}="{text}"'
    pieces = list(_percent_pieces(text))
    if len(pieces) == 1:
        return f";{_FOLD}{name}*=utf-8''{pieces[0]}"
    first, *others = pieces
    return f";{_FOLD}{name}*0*=utf-8''{first}" + "".join(
        f";{_FOLD}{name}*{number}*={piece}" for number, piece in enumerate(others, start=1)
    )


def _encode_mailbox(mailbox: Mailbox, column: int) -> str:
    name = mailbox.name
    if not name:
        return mailbox.address
    if len(name) > _QUOTABLE_NAME_CHARS or not _is_plain(name):
        written = _FOLD.join(_encoded_words(name, column))
    elif _PHRASE.fullmatch(name):
        written = name
    else:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        written = f'"{escaped}"'
    last_line = written.rpartition("\r\n")[2]
    is_long = len(last_line) + len(mailbox.address) + 3 > _LINE_CHARS
    return f"{written}{_FOLD if is_long else ' '}<{mailbox.address}>"


def _is_plain(text: str) -> bool:
    """True for ASCII without controls, and without spaces at its ends, that reads as it is."""
    # A reader would decode what looks like an encoded word, so such text is encoded itself.
    return text.isascii() and text.isprintable() and text == text.strip(" ") and "=?" not in text


def _longest_token(text: str) -> int:
    return max((len(token) for token in _TOKEN.findall(text)), default=0)


def _fold_tokens(text: str, start: int) -> str:
    """Break before runs of spaces, so that unfolding (removing CRLF) gives back the text."""
    lines: list[str] = []
    line, used = "", start
    for token in _TOKEN.findall(text):
        if line and used + len(token) > _LINE_CHARS:
            lines.append(line)
            line, used = "", 0
        line += token
        used += len(token)
    return "\r\n".join([*lines, line])


def _encoded_words(text: str, column: int) -> Iterator[str]:
    """Base64 words of RFC 2047; a character never spans two words (its section 5)."""
    room = (_LINE_CHARS - column - _WORD_OVERHEAD_CHARS) // 4 * 3
    limit = min(max(room, _SHORTEST_WORD_BYTES), _WORD_BYTES)
    whole = text.encode("utf-8")
    if len(whole) <= limit:
        yield _encoded_word(whole)
        return
    piece = b""
    for character in text:
        encoded = character.encode("utf-8")
        if len(piece) + len(encoded) > limit:
            yield _encoded_word(piece)
            piece, limit = b"", _WORD_BYTES
        piece += encoded
    yield _encoded_word(piece)


def _encoded_word(piece: bytes) -> str:
    return f"=?utf-8?B?{binascii.b2a_base64(piece, newline=False).decode('ascii')}?="


def _percent_pieces(text: str) -> Iterator[str]:
    """RFC 2231, section 4; a character never spans two pieces."""
    piece = ""
    for character in text:
        encoded = quote(character, safe="")
        if len(piece) + len(encoded) > _PIECE_CHARS:
            yield piece
            piece = ""
        piece += encoded
    yield piece
