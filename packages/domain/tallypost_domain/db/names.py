"""Names that the schema follows."""

import re

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

PARTITIONED_TABLES: tuple[str, ...] = (
    "emails",
    "recipients",
    "email_contents",
    "attempts",
    "events",
)

_PARTITION = re.compile(rf"^({'|'.join(PARTITIONED_TABLES)})_w\d{{8}}$")


def is_partition(table_name: str | None) -> bool:
    """True for a weekly partition such as `emails_w20261123`."""
    return bool(table_name and _PARTITION.match(table_name))
