"""What can go wrong with a request for a page."""

from typing import ClassVar

from tallypost_core.errors import AppError, ErrorKind


class NotSignedIn(AppError):
    """Sign in to see this page."""

    code: ClassVar[str] = "not_signed_in"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAUTHENTICATED


class NoTenantOpen(AppError):
    """You are not a member of any tenant yet; ask an owner of one to add you."""

    code: ClassVar[str] = "no_tenant_open"
    kind: ClassVar[ErrorKind] = ErrorKind.FORBIDDEN


class ForeignForm(AppError):
    """This form did not come from a page of this console, or the page is out of date."""

    code: ClassVar[str] = "foreign_form"
    kind: ClassVar[ErrorKind] = ErrorKind.FORBIDDEN


class MalformedForm(AppError):
    """A field of the form is missing, or there are too many."""

    code: ClassVar[str] = "malformed_form"


class PageNotFound(AppError):
    """Page not found."""

    code: ClassVar[str] = "page_not_found"
    kind: ClassVar[ErrorKind] = ErrorKind.NOT_FOUND


class TooManyStreams(AppError):
    """Five pages of yours are live already; close one of them."""

    code: ClassVar[str] = "too_many_streams"
    kind: ClassVar[ErrorKind] = ErrorKind.RATE_LIMITED


class TenantChanged(AppError):
    """Another tenant was opened in this browser meanwhile; load the page again."""

    code: ClassVar[str] = "tenant_changed"
    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT
