"""The errors of our own routes: the status of each, and what to do about it.

One row for each error class that can reach them; `docs/errors.md` is made from these rows. An
error without a row is a mistake of ours, unless it is an outage.
"""

from typing import Final

from msgspec import Struct

from tallypost_api import errors as api
from tallypost_core.errors import HTTP_STATUS, AppError, ErrorKind, first_line
from tallypost_domain.api_keys import errors as api_keys
from tallypost_domain.db.errors import DatabaseUnavailable
from tallypost_domain.emails import errors as emails
from tallypost_domain.queue import errors as queue
from tallypost_domain.routing import errors as routing
from tallypost_domain.tenants import errors as tenants
from tallypost_providers import errors as providers


class ProblemRow(Struct, frozen=True):
    """What one error class becomes."""

    error: type[AppError]
    advice: str
    """What the caller can do, for the page about errors."""
    own_title: str | None = None
    """In the place of the error's own words, where those are about Resend's routes."""

    @property
    def status(self) -> int:
        """By the kind of the error, unless HTTP itself has a status for it."""
        return _HTTP.get(self.error, HTTP_STATUS[self.error.kind])

    @property
    def title(self) -> str:
        """The same for each occurrence (RFC 9457, section 3.1.3)."""
        return self.own_title or first_line(self.error.__doc__)


_HTTP: Final[dict[type[AppError], int]] = {
    api.MalformedRequest: 400,
    api.MalformedJSON: 400,
    api.JSONTooDeep: 400,
    api.JSONTooIntricate: 400,
    api.MethodNotAllowed: 405,
    api.RequestTimeout: 408,
    api.RequestTooLarge: 413,
    api.UnsupportedEncoding: 415,
    api.InternalError: 500,
}

_CORRECT = "correct the field that `field` names"

ROWS: Final[tuple[ProblemRow, ...]] = (
    ProblemRow(api.MalformedJSON, "send JSON; `detail` says where it ends"),
    ProblemRow(api.JSONTooDeep, "send a flatter body"),
    ProblemRow(api.JSONTooIntricate, "send a simpler body"),
    ProblemRow(api.MalformedRequest, "send well-formed HTTP"),
    ProblemRow(api.MissingAPIKey, "send the key"),
    ProblemRow(api_keys.InvalidAPIKey, "check the key"),
    ProblemRow(api.RestrictedAPIKey, "use a key with full access"),
    ProblemRow(api_keys.TenantSuspended, "ask the operator"),
    ProblemRow(api.LiveKeyRequired, "use a live key"),
    ProblemRow(routing.AccountNotFound, "check the id"),
    ProblemRow(routing.AccountNameTaken, "choose another name"),
    ProblemRow(routing.TooManyAccounts, "delete an account that nobody uses"),
    ProblemRow(routing.AccountInUse, "take the account out of the routes first"),
    ProblemRow(routing.InvalidAccountName, "choose another name"),
    ProblemRow(providers.UnknownProvider, "name one that `detail` lists"),
    ProblemRow(providers.InvalidAccountSettings, _CORRECT),
    ProblemRow(routing.InvalidRoute, _CORRECT),
    ProblemRow(routing.TooManyRoutes, "join routes that lead to the same accounts"),
    ProblemRow(emails.EmailNotFound, "check the id, and the mode of the key"),
    ProblemRow(api.MethodNotAllowed, "use a method that `allow` names"),
    ProblemRow(api.RequestTimeout, "repeat on a faster connection"),
    ProblemRow(queue.NothingUnconfirmed, "nothing; `GET /emails/{id}/timeline` says what happened"),
    ProblemRow(queue.NotParked, "wait, or settle it if it is known whether it arrived"),
    ProblemRow(queue.EmailUnderWay, "look at the email again in a minute"),
    ProblemRow(queue.AttemptSuperseded, "look at the email again, then decide anew"),
    ProblemRow(queue.CannotBeResent, "do what `detail` says first"),
    ProblemRow(api.RequestTooLarge, "send less at once", "The request body is larger than 1 MB."),
    ProblemRow(api.UnsupportedEncoding, "send the body uncompressed"),
    ProblemRow(emails.MissingField, "add the field that `field` names"),
    ProblemRow(api.UnknownField, "leave the field out, or correct its name"),
    ProblemRow(api.WrongType, _CORRECT),
    ProblemRow(api.InvalidParameter, "correct the parameter that `field` names"),
    ProblemRow(
        api.RateLimitExceeded, "wait as `retry-after` says, then repeat", "Too many requests."
    ),
    ProblemRow(api.InternalError, "report `request_id`"),
    ProblemRow(tenants.KeyMissing, "ask the operator"),
    ProblemRow(api.ServiceUnavailable, "wait as `retry-after` says, then repeat"),
    ProblemRow(DatabaseUnavailable, "wait as `retry-after` says, then repeat"),
)

_BY_CODE: Final = {row.error.code: row for row in ROWS}
INTERNAL: Final = _BY_CODE[api.InternalError.code]


def find_problem_row(error: AppError) -> ProblemRow:
    """The row of an error; as `find_row` for Resend's routes."""
    row = _BY_CODE.get(error.code)
    if row is None and error.kind is ErrorKind.UNAVAILABLE:
        return _BY_CODE[api.ServiceUnavailable.code]
    return row or INTERNAL
