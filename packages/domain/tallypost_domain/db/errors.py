"""Tells a database that is away from a mistake in a statement."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import asyncpg
from sqlalchemy import exc

from tallypost_core.errors import AppError, ErrorKind

RETRY_AFTER_S = 2.0

# What asyncpg raises while the server restarts, refuses or drops connections, or does not answer,
# has just become a replica, or gives up on one of two transactions that wait for each other.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    # Of a connection that broke in the middle of something.
    asyncpg.InternalClientError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)


class DatabaseUnavailable(AppError):
    """The database does not answer; try again in a moment."""

    code: ClassVar[str] = "unavailable"
    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE


@contextmanager
def translated() -> Iterator[None]:
    """Raise DatabaseUnavailable in place of what the drivers raise when the server is away.

    Whatever was not committed before is undone; a commit that was cut off may have happened.
    """
    try:
        yield
    except AWAY as error:
        raise DatabaseUnavailable(retry_after_s=RETRY_AFTER_S) from error
    except exc.TimeoutError as error:
        raise DatabaseUnavailable(retry_after_s=RETRY_AFTER_S) from error
    except exc.DBAPIError as error:
        if error.connection_invalidated or _is_away(error.orig):
            raise DatabaseUnavailable(retry_after_s=RETRY_AFTER_S) from error
        raise


def _is_away(error: BaseException | None) -> bool:
    # SQLAlchemy wraps the driver's exception in one of its own.
    return isinstance(error, AWAY) or isinstance(getattr(error, "__cause__", None), AWAY)
