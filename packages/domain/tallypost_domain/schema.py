"""The whole schema: every slice's models in one place, and their drift from a real database."""

from alembic import autogenerate
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, ForeignKeyConstraint

from tallypost_domain.api_keys import models as api_keys
from tallypost_domain.audit import models as audit
from tallypost_domain.db.migrate import with_connection
from tallypost_domain.db.models import METADATA
from tallypost_domain.db.names import is_partition
from tallypost_domain.domains import models as domains
from tallypost_domain.emails import models as emails
from tallypost_domain.events import models as events
from tallypost_domain.inbox import models as inbox
from tallypost_domain.people import models as people
from tallypost_domain.queue import models as queue
from tallypost_domain.routing import models as routing
from tallypost_domain.subscribers import models as subscribers
from tallypost_domain.suppressions import models as suppressions
from tallypost_domain.tenants import models as tenants
from tallypost_domain.usage import models as usage

MODEL_MODULES = (
    api_keys,
    audit,
    domains,
    emails,
    events,
    inbox,
    people,
    queue,
    routing,
    subscribers,
    suppressions,
    tenants,
    usage,
)


async def find_drift(owner_url: str) -> list[str]:
    """Differences between the models and a migrated database, one line each; empty is good.

    Sees tables, columns, types, indexes and keys. Policies, grants, checks and functions are the
    catalogue test's.
    """
    return await with_connection(owner_url, _find_drift)


def _find_drift(connection: Connection) -> list[str]:
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "include_name": lambda name, type_, _: type_ != "table" or not is_partition(name),
            "include_object": lambda item, _name, _type, _reflected, _to: not _is_copy(item),
        },
    )
    return [str(difference) for difference in autogenerate.compare_metadata(context, METADATA)]


def _is_copy(item: object) -> bool:
    """True for a key that Postgres made itself: it keeps one for each partition of the table that
    a key of ours points to, under a name that differs between its versions."""
    if not isinstance(item, ForeignKeyConstraint):
        return False
    table, _, _ = item.elements[0].target_fullname.rpartition(".")
    return is_partition(table)
