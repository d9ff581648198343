"""SQL of sending again, as named statements; see `requeueing` for the order they run in.

Rows of partitioned tables are sought between the least and the greatest email id, so that the
other partitions are not looked into.
"""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, LargeBinary, Text, TextClause, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

# Any: each type of SQL stands for another one of Python.
_TYPES: dict[str, TypeEngine[Any]] = {
    "tenant_id": Uuid(),
    "email_ids": ARRAY(Uuid()),
    "least": Uuid(),
    "greatest": Uuid(),
    "recipient_ids": ARRAY(Uuid()),
    "event_ids": ARRAY(Uuid()),
    "address_hashes": ARRAY(LargeBinary()),
    "statuses": ARRAY(Text()),
    "lanes": ARRAY(Text()),
    "fence": BigInteger(),
}


def _typed(statement: str) -> TextClause:
    """The statement with the types of its parameters: arrays cannot be guessed."""
    named = {name: type_ for name, type_ in _TYPES.items() if f":{name}" in statement}
    return text(statement).bindparams(*(bindparam(name, type_=named[name]) for name in named))


# One at a time in a tenant: then nobody but a worker can change what is looked at here, and no
# queue row can appear.
TAKE_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")

# `FIRST_FENCE_AGAIN` and more. Before the next one there is room for all claims of a row, and for
# the bit `FIRST_FENCE_RELEASED`.
NEXT_FENCE = text("SELECT nextval('requeue_fences') << 32")


FIND_EMAILS = _typed("""
    SELECT e.id, e.lane, t.status AS tenant_status, d.status AS domain_status,
           c.email_id IS NOT NULL AS has_content,
           policy_of_unconfirmed(s.on_unconfirmed, e.lane) AS on_unconfirmed
    FROM emails e
    JOIN tenants t ON t.id = e.tenant_id
    LEFT JOIN domains d ON d.tenant_id = e.tenant_id AND d.id = e.domain_id
    LEFT JOIN streams s ON s.tenant_id = e.tenant_id AND s.name = e.stream
    LEFT JOIN email_contents c ON c.tenant_id = e.tenant_id AND c.email_id = e.id
        AND c.email_id BETWEEN :least AND :greatest
    WHERE e.tenant_id = :tenant_id AND e.id = ANY (:email_ids) AND e.mode = :mode
      AND e.id BETWEEN :least AND :greatest
""")

LOCK_QUEUE_ROWS = _typed("""
    SELECT q.email_id, q.state FROM send_queue q
    WHERE q.tenant_id = :tenant_id AND q.email_id = ANY (:email_ids)
    ORDER BY q.email_id
    FOR UPDATE
""")

LOCK_EMAILS = _typed("""
    SELECT e.id FROM emails e
    WHERE e.tenant_id = :tenant_id AND e.id = ANY (:email_ids)
      AND e.id BETWEEN :least AND :greatest
    ORDER BY e.id
    FOR UPDATE
""")

LOCK_RECIPIENTS = _typed("""
    SELECT r.email_id, r.id, r.address, r.status FROM recipients r
    WHERE r.tenant_id = :tenant_id AND r.email_id = ANY (:email_ids)
      AND r.email_id BETWEEN :least AND :greatest
    ORDER BY r.email_id, r.id
    FOR UPDATE
""")

FIND_SUPPRESSED = _typed("""
    SELECT s.address_hash FROM suppressions s
    WHERE s.tenant_id = :tenant_id AND s.mode = :mode
      AND s.address_hash = ANY (:address_hashes)
""")

SET_RECIPIENTS = _typed("""
    UPDATE recipients r SET status = c.status, updated_at = now()
    FROM unnest(:email_ids, :recipient_ids, :statuses) AS c (email_id, id, status)
    WHERE r.tenant_id = :tenant_id AND r.email_id = c.email_id AND r.id = c.id
      AND r.email_id BETWEEN :least AND :greatest
""")

SET_EMAILS = _typed("""
    UPDATE emails e SET status = c.status, updated_at = now()
    FROM unnest(:email_ids, :statuses) AS c (id, status)
    WHERE e.tenant_id = :tenant_id AND e.id = c.id AND e.id BETWEEN :least AND :greatest
""")

INSERT_QUEUE_ROWS = _typed("""
    INSERT INTO send_queue (tenant_id, email_id, lane, fence)
    SELECT :tenant_id, c.email_id, c.lane, :fence
    FROM unnest(:email_ids, :lanes) AS c (email_id, lane)
""")

# A held one stays so until it is released.
FREE_QUEUE_ROWS = _typed("""
    UPDATE send_queue q
    SET state = CASE q.state WHEN 'held' THEN 'held' ELSE 'waiting' END,
        attempt = 0, due_at = now(), fence = :fence
    WHERE q.tenant_id = :tenant_id AND q.email_id = ANY (:email_ids)
""")

DELETE_DEAD_LETTERS = _typed("""
    DELETE FROM dead_letters l
    USING unnest(:email_ids, :recipient_ids) AS c (email_id, recipient_id)
    WHERE l.tenant_id = :tenant_id AND l.email_id = c.email_id
      AND l.recipient_id = c.recipient_id
""")

INSERT_EVENTS = _typed("""
    INSERT INTO events (tenant_id, subject_id, id, mode, type, recipient_id, data)
    SELECT :tenant_id, c.email_id, c.id, :mode, 'email.requeued', c.recipient_id, v.data
    FROM unnest(:email_ids, :event_ids, :recipient_ids)
        AS c (email_id, id, recipient_id)
    CROSS JOIN (SELECT CAST(:data AS jsonb) AS data) v
""")

WAKE_WORKERS = text("SELECT pg_notify(:channel, :payload)")


# Any: parameters of a statement.
def parameters(tenant_id: UUID, email_ids: Collection[UUID]) -> dict[str, Any]:
    """The tenant, the emails, and their bounds."""
    return {
        "tenant_id": tenant_id,
        "email_ids": [*email_ids],
        "least": min(email_ids, default=None),
        "greatest": max(email_ids, default=None),
    }
