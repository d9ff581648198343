"""Makes the parts of a worker process and ties them together; nothing of it runs yet."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct
from redis.asyncio import Redis

from tallypost_core.crypto import KeyRing
from tallypost_core.ids import new_id
from tallypost_core.settings.apps import WorkerSettings
from tallypost_domain.db.notifications import ChangeFeed
from tallypost_domain.db.pools import Pool
from tallypost_domain.domains.signing import SigningKeyDirectory
from tallypost_domain.routing.directory import RoutingDirectory
from tallypost_providers.types import Provider
from tallypost_resilience.breaker import Breaker
from tallypost_resilience.cluster_limiter import ClusterLimiter
from tallypost_resilience.redis_client import connect
from tallypost_resilience.retry import RetryPolicy
from tallypost_telemetry.object_store_spans import open_traced_store
from tallypost_worker.account_checks import AccountChecks
from tallypost_worker.accounts import create_accounts, peers_of
from tallypost_worker.assembly import Assembler
from tallypost_worker.delivery import Delivery
from tallypost_worker.delivery_loop import DeliveryLoop
from tallypost_worker.delivery_samples import DeliverySamples
from tallypost_worker.domain_standings import DomainStandings
from tallypost_worker.fleet import BREAKER, Fleet, judge_handover
from tallypost_worker.heartbeat import Heartbeat
from tallypost_worker.recorder import Recorder
from tallypost_worker.tenant_accounts import TenantAccounts
from tallypost_worker.tenant_routes import RouteBook
from tallypost_worker.wakeups import DueTenants


class Parts(Struct, frozen=True):
    """Whatever of a worker runs, or is to be closed."""

    worker_id: UUID
    loop: DeliveryLoop
    recorder: Recorder
    heartbeat: Heartbeat
    due: DueTenants
    samples: DeliverySamples
    assembler: Assembler
    providers: Sequence[Provider]
    fleet: Fleet
    feed: ChangeFeed
    routes: RouteBook
    checks: AccountChecks
    standings: DomainStandings
    redis: Redis


def assemble_parts(settings: WorkerSettings, pool: Pool, chore_pool: Pool) -> Parts:
    """The parts of one worker; pool logs in as tp_deliver, chore_pool as tp_worker.

    Raises ProviderMisconfigured that names the variable.
    """
    worker_id = new_id()
    url = settings.database.deliver_url.reveal()
    key_ring = KeyRing.from_setting(settings.secrets.key_ring.reveal())
    providers = create_accounts(settings, pool)
    redis = connect(settings.redis.url)
    fleet = Fleet(
        providers,
        concurrency=settings.delivery.concurrency,
        warm_share=settings.delivery.warm_share,
        breaker=Breaker("providers", BREAKER, redis=redis, judge=judge_handover),
        limiter=ClusterLimiter(redis, processes=settings.delivery.processes),
    )
    feed = ChangeFeed(url, app="tallypost-worker")
    directory = RoutingDirectory(pool, key_ring, feed)
    tenant_accounts = TenantAccounts(settings.tenant_accounts)
    routes = RouteBook(directory, fleet, tenant_accounts.create)
    keys = SigningKeyDirectory(pool, key_ring)
    assembler = Assembler(pool, open_traced_store(settings.objects), keys)
    heartbeat = Heartbeat(url, worker_id)
    due = DueTenants(pool, url)
    recorder = Recorder(pool, worker_id, retry_policy(settings), on_due_again=due.note_claim)
    samples = DeliverySamples(worker_id)
    delivery = Delivery(
        worker_id,
        fleet=fleet,
        routes=routes,
        assembler=assembler,
        recorder=recorder,
        heartbeat=heartbeat,
        samples=samples,
        timeout_s=settings.delivery.handover_timeout_s,
        peers=peers_of(settings),
    )
    loop = DeliveryLoop(
        pool,
        worker_id,
        KeyRing.from_setting(settings.secrets.peppers.reveal()),
        delivery=delivery,
        recorder=recorder,
        heartbeat=heartbeat,
        due=due,
        concurrency=settings.delivery.concurrency,
    )
    return Parts(
        worker_id=worker_id,
        loop=loop,
        recorder=recorder,
        heartbeat=heartbeat,
        due=due,
        samples=samples,
        assembler=assembler,
        providers=providers,
        fleet=fleet,
        feed=feed,
        routes=routes,
        checks=AccountChecks(chore_pool, directory, tenant_accounts),
        standings=DomainStandings(chore_pool, fleet.accounts, directory, tenant_accounts, keys),
        redis=redis,
    )


def retry_policy(settings: WorkerSettings) -> RetryPolicy:
    """When a delivery is tried again."""
    return RetryPolicy(schedule_s=settings.delivery.retry_schedule_s)
