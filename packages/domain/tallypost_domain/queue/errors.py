"""What can stand in the way of a decision about mail that may have arrived."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class NothingUnconfirmed(AppError):
    """No recipient of this email is unconfirmed, so there is nothing to decide."""

    code: ClassVar[str] = "nothing_unconfirmed"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class NotParked(AppError):
    """This email is still being sent by itself; it does not wait for a decision."""

    code: ClassVar[str] = "not_parked"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class EmailUnderWay(AppError):
    """A worker has this email just now; look again once its handover has ended."""

    code: ClassVar[str] = "email_under_way"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class AttemptSuperseded(AppError):
    """The email was handed over again since this attempt, or there was no such one."""

    code: ClassVar[str] = "attempt_superseded"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class CannotBeResent(AppError):
    """This email cannot be sent again now."""

    code: ClassVar[str] = "cannot_be_resent"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT
