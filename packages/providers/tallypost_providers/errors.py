"""Errors that an adapter raises before anything was sent, and what a store of messages raises."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class ProviderError(AppError):
    """The provider cannot be used as it is set up."""

    code: ClassVar[str] = "provider_error"


class ProviderMisconfigured(ProviderError):
    """A provider's settings are incomplete or contradict each other."""

    code: ClassVar[str] = "provider_misconfigured"


class EmailNotBuildable(ProviderError):
    """The email cannot be written as a message."""

    code: ClassVar[str] = "email_not_buildable"


class SigningKeyInvalid(EmailNotBuildable):
    """A DKIM key of the sending domain cannot be read or is of another kind than it says."""

    code: ClassVar[str] = "signing_key_invalid"


class NoRouteAvailable(ProviderError):
    """No provider account may take this email now."""

    code: ClassVar[str] = "no_route_available"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE


class StoreOutcomeUnknown(Exception):
    """A message may have been stored or not: its commit was cut off before an answer came."""
