"""What can go wrong with tenants."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class KeyMissing(AppError):
    """The keys that secrets are stored with are not all there; an operator has to mend that."""

    code: ClassVar[str] = "key_missing"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE
