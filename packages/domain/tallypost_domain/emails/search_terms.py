"""Reads and writes the line that people search emails with, such as `status:bounced welcome`.

All terms have to be met, but of several statuses one is enough. What stands alone is searched for
in the subject, unless it is an address or an id; in quotes it always is.
"""

import datetime as dt
import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from tallypost_core.ids import parse_id
from tallypost_domain.emails.addresses import FORBIDDEN_IN_HEADERS, parse_address
from tallypost_domain.emails.errors import InvalidField, InvalidSearch
from tallypost_domain.emails.lifecycle import RecipientStatus, last_event
from tallypost_domain.emails.types import Tag

MAX_LENGTH: Final = 500
KEYS: Final = ("id", "status", "to", "from", "stream", "tag", "key", "after", "before", "subject")

STATUS_WORDS: Final[Mapping[str, tuple[RecipientStatus, ...]]] = MappingProxyType(
    {status.value: (status,) for status in RecipientStatus}
    | {
        word: tuple(status for status in RecipientStatus if last_event(status) == word)
        for word in map(last_event, RecipientStatus)
    }
)
"""What `status:` takes. The public API's words mean all that it calls so: `queued` includes held
emails, `delivery_delayed` those that are deferred or unconfirmed."""

_KEY = re.compile(r"[A-Za-z_]+:")
# A key that is found is not taken for a part of the word when its value cannot be read.
_TERM = re.compile(
    rf'(?>(?:(?P<key>{_KEY.pattern})?))(?:"(?P<phrase>(?:[^"\\]|\\.)*)"(?!\S)|(?P<word>[^\s"]\S*))',
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

T = TypeVar("T")


class EmailFilter(Struct, frozen=True, kw_only=True):
    """What an email has to be like to be found; what is empty lets every email through."""

    email_id: UUID | None = None
    statuses: tuple[RecipientStatus, ...] = ()
    """What some words of STATUS_WORDS mean: a line has no term for `queued` without `held`."""
    recipient: str | None = None
    """An address in lower case, its domain in ASCII form; in `to`, `cc` or `bcc`."""
    sender: str | None = None
    """As `recipient`."""
    stream: str | None = None
    tags: tuple[Tag, ...] = ()
    api_key_id: UUID | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    """Accepted before it; its own moment is left out."""
    words: tuple[str, ...] = ()
    """Each is contained in the subject; small and capital letters are the same."""

    def with_status(self, word: str | None) -> "EmailFilter":
        """The same but for its statuses, which become those of a word of STATUS_WORDS, or any."""
        return replace(self, statuses=STATUS_WORDS[word] if word else ())


def parse_search(text: str) -> EmailFilter:
    """Read a line; an empty one lets every email through.

    Raises InvalidSearch, whose message names the term and what to write, and whose field is the
    key. It holds no value, because a value may be an address.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidSearch(f"A search has at most {MAX_LENGTH} characters.")
    values: dict[str, list[str]] = defaultdict(list)
    for key, value in _split(text):
        values[key].append(value)
    return EmailFilter(
        email_id=_one(values, "id", _read_id),
        statuses=_read_statuses(values["status"]),
        recipient=_one(values, "to", _read_address),
        sender=_one(values, "from", _read_address),
        stream=_one(values, "stream", lambda _, value: value),
        tags=tuple(dict.fromkeys(map(_read_tag, values["tag"]))),
        api_key_id=_one(values, "key", _read_id),
        since=_one(values, "after", _read_time),
        until=_one(values, "before", _read_time),
        words=tuple(dict.fromkeys(values["subject"])),
    )


def list_terms(wanted: EmailFilter) -> tuple[str, ...]:
    """The terms of a filter in their one order; joined by spaces they are its line."""
    pairs: tuple[tuple[str, object], ...] = (
        ("id", wanted.email_id),
        *(("status", word) for word in _status_words(wanted.statuses)),
        ("to", wanted.recipient),
        ("from", wanted.sender),
        ("stream", wanted.stream),
        *(("tag", f"{tag.name}={tag.value}") for tag in wanted.tags),
        ("key", wanted.api_key_id),
        ("after", wanted.since and _format_time(wanted.since)),
        ("before", wanted.until and _format_time(wanted.until)),
    )
    return (
        *(f"{key}:{_quote(str(value))}" for key, value in pairs if value is not None),
        *map(_format_word, wanted.words),
    )


def format_search(wanted: EmailFilter) -> str:
    """The line that `parse_search` reads as this filter."""
    return " ".join(list_terms(wanted))


def _split(text: str) -> Iterator[tuple[str, str]]:
    """Keys and values; a term without a key gets the one that it stands for."""
    place = 0
    while rest := text[place:].lstrip():
        place = len(text) - len(rest)
        term = _TERM.match(text, place)
        if term is None:
            raise _unreadable(rest)
        place = term.end()
        phrase, word = term["phrase"], term["word"]
        value = word if phrase is None else _ESCAPED.sub(r"\1", phrase)
        key = (term["key"] or "").removesuffix(":").lower()
        if key and key not in KEYS:
            raise _unknown_key(key)
        key = key or ("subject" if phrase is not None else _key_of(word))
        if not value:
            raise InvalidSearch(f"`{key}:` has nothing in its quotes.", field=key)
        if FORBIDDEN_IN_HEADERS.search(value):
            raise InvalidSearch(f"`{key}:` holds a control character; take it out.", field=key)
        yield key, value


def _key_of(word: str) -> str:
    if parse_id(word) is not None:
        return "id"
    return "to" if "@" in word else "subject"


def _one(values: Mapping[str, Sequence[str]], key: str, read: Callable[[str, str], T]) -> T | None:
    found = dict.fromkeys(read(key, value) for value in values.get(key, ()))
    if len(found) > 1:
        raise InvalidSearch(f"`{key}:` can be given only once; take the others out.", field=key)
    return next(iter(found), None)


def _read_id(key: str, value: str) -> UUID:
    found = parse_id(value)
    if found is None:
        raise InvalidSearch(
            f"`{key}:` takes an id such as `0192d3c4-5b6a-7c8d-9e0f-1a2b3c4d5e6f`.", field=key
        )
    return found


def _read_statuses(values: Iterable[str]) -> tuple[RecipientStatus, ...]:
    meant = {status for value in values for status in _read_status(value)}
    return tuple(status for status in RecipientStatus if status in meant)


def _read_status(value: str) -> tuple[RecipientStatus, ...]:
    word = value.lower()
    if word not in STATUS_WORDS:
        raise InvalidSearch(
            f"`status:` does not have this value.{_guess(word, STATUS_WORDS)} "
            f"It takes {_list(STATUS_WORDS)}.",
            field="status",
        )
    return STATUS_WORDS[word]


def _read_address(key: str, value: str) -> str:
    try:
        return parse_address(value, key).address.lower()
    except InvalidField as error:
        raise InvalidSearch(
            f"`{key}:` takes an address such as `{key}:ada@example.com`. "
            "Put a word with an @ in quotes to search the subject for it.",
            field=key,
        ) from error


def _read_tag(value: str) -> Tag:
    name, _, content = value.partition("=")
    if not (name and content):
        raise InvalidSearch(
            "`tag:` takes a name and a value, such as `tag:campaign=welcome`.", field="tag"
        )
    return Tag(name, content)


def _read_time(key: str, value: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(value)
        # A time without a zone is UTC. Near the first and the last year there may be no such time.
        return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidSearch(
            f"`{key}:` takes a date in UTC such as `{key}:2026-11-20`, "
            f"or a time such as `{key}:2026-11-20T09:30Z`.",
            field=key,
        ) from error


def _unreadable(rest: str) -> InvalidSearch:
    key = _KEY.match(rest)
    name = key[0].removesuffix(":").lower() if key else None
    if name is not None and name not in KEYS:
        return _unknown_key(name)
    if key and not rest.startswith('"', key.end()):
        return InvalidSearch(f"`{name}:` needs a value right behind the colon.", field=name)
    return InvalidSearch(
        "A quote is not closed. Close it before a space, and put a backslash before one inside.",
        field=name,
    )


def _unknown_key(key: str) -> InvalidSearch:
    known = _list(f"{name}:" for name in KEYS)
    return InvalidSearch(
        f"There is no term `{key}:`.{_guess(key, KEYS, ':')} There are {known}. "
        "Put a word with a colon in quotes to search the subject for it.",
        field=key,
    )


def _guess(wrong: str, right: Iterable[str], ending: str = "") -> str:
    close = difflib.get_close_matches(wrong, right, 1)
    return f" Did you mean `{close[0]}{ending}`?" if close else ""


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _status_words(statuses: Collection[RecipientStatus]) -> Iterator[str]:
    """As few words as mean these statuses, the widest first."""
    missing = set(statuses)
    for word, meant in sorted(STATUS_WORDS.items(), key=lambda item: -len(item[1])):
        if missing.intersection(meant) and set(meant) <= set(statuses):
            missing.difference_update(meant)
            yield word


def _format_time(moment: dt.datetime) -> str:
    if moment.time() == dt.time():
        return moment.date().isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def _format_word(word: str) -> str:
    stands_for_more = _KEY.match(word) or _key_of(word) != "subject"
    return _escape(word) if stands_for_more else _quote(word)


def _quote(value: str) -> str:
    return _escape(value) if value.startswith('"') or re.search(r"\s", value) else value


def _escape(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
