"""What can be wrong with accounts and routes."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class AccountNotFound(AppError):
    """Provider account not found."""

    code: ClassVar[str] = "provider_account_not_found"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class InvalidAccountName(AppError):
    """The name of a provider account must have 1 to 100 characters that can be seen."""

    code: ClassVar[str] = "invalid_provider_account_name"


class AccountNameTaken(AppError):
    """There is a provider account of this name already."""

    code: ClassVar[str] = "provider_account_name_taken"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class TooManyAccounts(AppError):
    """There are 20 provider accounts already; delete one that nobody uses."""

    code: ClassVar[str] = "too_many_provider_accounts"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class AccountInUse(AppError):
    """Routes name this provider account; take it out of them first."""

    code: ClassVar[str] = "provider_account_in_use"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class InvalidRoute(AppError):
    """A route has a value that cannot be used."""

    code: ClassVar[str] = "invalid_route"


class SendingRouteNotFound(AppError):
    """Route not found."""

    code: ClassVar[str] = "sending_route_not_found"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class TooManyRoutes(AppError):
    """There may be 100 routes at most."""

    code: ClassVar[str] = "too_many_routes"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT
