"""How much is measured: the whole bench, the quick one, and a tiny one that proves it runs."""

from msgspec import Struct


class Scale(Struct, frozen=True, kw_only=True):
    """Counts and times of all parts. Times are of one measurement, in one round."""

    name: str
    rounds: int
    history_mails: int
    """Finished emails that every database begins with: the planner treats empty tables oddly."""
    anchor_s: float
    """pgbench, signing, the endpoint without a database, smtp-source."""
    accept_s: float
    """32 clients; one client, 64 clients and batches get half of it."""
    delivery_s: float
    """How long a prepared backlog should last, by what the pilot run reached."""
    pilot_mails: int
    most_mails: int
    """Of one backlog, however fast a worker is."""
    latency_s: float
    peer_mails: int
    slow_mails: int
    claim_rows: tuple[int, ...]
    """Rows of the queues that are claimed from; the last is compared with the second."""
    queue_rows: int
    """Of the queues for everything else about claims."""
    claims_per_round: int
    drained_rows: int
    """Under an open snapshot; half as many again without one."""
    backlog_rows: int
    """What the neighbour of a small tenant has queued."""
    small_tenant_mails: int
    grown_rows: int
    """Finished emails; each has rows in three tables."""
    memory_mails: int
    memory_limit_s: float
    """The growth is taken over fewer mails where these do not go through in this time."""


FULL = Scale(
    name="full",
    rounds=5,
    history_mails=5_000,
    anchor_s=2.0,
    accept_s=4.0,
    delivery_s=3.0,
    pilot_mails=400,
    most_mails=20_000,
    latency_s=8.0,
    peer_mails=2_500,
    slow_mails=4_000,
    claim_rows=(1_000, 100_000, 1_000_000, 5_000_000),
    queue_rows=1_000_000,
    claims_per_round=20,
    drained_rows=100_000,
    backlog_rows=1_000_000,
    small_tenant_mails=20,
    grown_rows=3_500_000,
    memory_mails=100_000,
    memory_limit_s=150.0,
)

QUICK = Scale(
    name="quick",
    rounds=2,
    history_mails=2_000,
    anchor_s=0.5,
    accept_s=0.8,
    delivery_s=0.6,
    pilot_mails=100,
    most_mails=3_000,
    latency_s=1.6,
    peer_mails=300,
    slow_mails=400,
    claim_rows=(1_000, 20_000, 100_000),
    queue_rows=50_000,
    claims_per_round=5,
    drained_rows=5_000,
    backlog_rows=20_000,
    small_tenant_mails=5,
    grown_rows=20_000,
    memory_mails=2_000,
    memory_limit_s=20.0,
)

TINY = Scale(
    name="tiny",
    rounds=2,
    history_mails=200,
    anchor_s=0.2,
    accept_s=0.2,
    delivery_s=0.2,
    pilot_mails=20,
    most_mails=60,
    latency_s=0.6,
    peer_mails=40,
    slow_mails=40,
    claim_rows=(500, 2_000, 5_000),
    queue_rows=5_000,
    claims_per_round=3,
    drained_rows=400,
    backlog_rows=3_000,
    small_tenant_mails=2,
    grown_rows=1_000,
    memory_mails=200,
    memory_limit_s=8.0,
)

SCALES = {scale.name: scale for scale in (FULL, QUICK, TINY)}

QUICK_PARTS = ("accept", "delivery", "latency")
"""What a quick run measures unless told otherwise."""
