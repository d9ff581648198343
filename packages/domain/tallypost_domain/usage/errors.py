"""What can be wrong with how much a tenant uses."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class QuotaExceeded(AppError):
    """The account's quota of recipients for this month is used up."""

    code: ClassVar[str] = "monthly_quota_exceeded"
    kind: ClassVar[ErrorKind] = ErrorKind.RATE_LIMITED
