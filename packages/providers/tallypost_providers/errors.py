"""Errors that an adapter raises before any contact, and what a store of messages raises."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class ProviderError(AppError):
    """The provider cannot be used as it is set up."""

    code: ClassVar[str] = "provider_error"


class ProviderMisconfigured(ProviderError):
    """A provider's settings are incomplete or contradict each other."""

    code: ClassVar[str] = "provider_misconfigured"


class InvalidAccountSettings(ProviderError):
    """A setting of a provider account is missing or cannot be used."""

    code: ClassVar[str] = "invalid_account_settings"


class UnknownProvider(ProviderError):
    """No account of one's own can be had at this provider."""

    code: ClassVar[str] = "unknown_provider"


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


class DomainNotChecked(ProviderError):
    """The provider did not say where the domain stands; nothing is known to have changed."""

    code: ClassVar[str] = "domain_not_checked"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE


class LookUpFailed(ProviderError):
    """The provider did not say whether it took a message."""

    code: ClassVar[str] = "look_up_failed"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE


class LookUpRefused(LookUpFailed):
    """The provider does not let the account ask what it took."""

    code: ClassVar[str] = "look_up_refused"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT


class EnvelopeNotKept(ProviderError):
    """Every provider account sends to all whom the headers name, and some are not to get it."""

    code: ClassVar[str] = "envelope_not_kept"


class ProviderBusy(Exception):
    """The adapter had no connection to spare in time, or is closed; nothing was sent.

    It says nothing about the peer, which was not asked, nor about the email, which is due again.
    So it is no AppError: a breaker would take one that is UNAVAILABLE for a failure of the peer,
    and any other for an answer.
    """


class StoreOutcomeUnknown(Exception):
    """A message may have been stored or not: its commit was cut off before an answer came."""
