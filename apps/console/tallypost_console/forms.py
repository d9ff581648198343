"""Reads submitted forms.

Not by the framework's parser: it keeps the last 1,024 bodies in a cache, passwords included.
"""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qsl

from litestar import Request

from tallypost_console.errors import MalformedForm
from tallypost_core.ttl_cache import TTLCache

TENANT_FIELD: Final = "tenant"
TOKEN_FIELD: Final = "form_token"  # noqa: S105 - the name of a field

# A page of a list with a box at each row, and what else stands in its form.
_MAX_FIELDS = 80
_PURPOSE = b"tallypost console form"


class Form:
    """The fields of one submitted form; of one that repeats, the last value counts."""

    def __init__(self, pairs: Sequence[tuple[str, str]] = ()) -> None:
        self._pairs = pairs
        self._fields = dict(pairs)

    def require(self, name: str) -> str:
        """The value of a field. Raises MalformedForm where it is missing."""
        value = self._fields.get(name)
        if value is None:
            raise MalformedForm(field=name)
        return value

    def find(self, name: str) -> str:
        """The value of a field, empty where it is missing."""
        return self._fields.get(name, "")

    def list_values(self, name: str) -> list[str]:
        """All values of a field that may stand several times: the boxes that were ticked."""
        return [value for name_, value in self._pairs if name_ == name]


class SentForms:
    """Forms that came once already, by the random id in each: a double click does nothing twice.

    Of this process, for ten minutes.
    """

    def __init__(self) -> None:
        self._ids: TTLCache[str, bool] = TTLCache(size=10_000, ttl_s=600)

    def add(self, form_id: str) -> bool:
        """False where the form has been here."""
        if self._ids.find(form_id):
            return False
        self._ids.put(form_id, True)
        return True

    def forget(self, form_id: str) -> None:
        """Let a form come again: nothing came of it."""
        self._ids.forget(form_id)

    @contextmanager
    def forgetting_failure(self, form_id: str) -> Iterator[None]:
        """Forget the form where the block raises.

        The transaction commits behind the block. Where that fails, nobody knows whether something
        was made, so the form stays known.
        """
        has_failed = True
        try:
            yield
            has_failed = False
        finally:
            if has_failed:
                self.forget(form_id)


# Any: the types of the request's user, auth and state, none of which we use.
async def read_form(request: Request[Any, Any, Any]) -> Form:
    """The form in the body of a request.

    Raises MalformedForm for more than 80 fields.
    """
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS
        )
    except ValueError as error:
        raise MalformedForm from error
    return Form(pairs)


def form_token(session_token: str) -> str:
    """What each form of a session carries, and no other page can know.

    It follows from the session's token and does not lead back to it.
    """
    return hmac.new(session_token.encode(), _PURPOSE, hashlib.sha256).hexdigest()


def is_form_token(presented: str, session_token: str) -> bool:
    """True where the form was made for this session; takes the same time for any wrong token."""
    # Bytes, because compare_digest refuses text outside ASCII.
    return hmac.compare_digest(
        presented.encode("utf-8", "surrogatepass"), form_token(session_token).encode()
    )
