"""Hands emails to one SMTP relay over kept connections."""

import re
import socket
from typing import Self

from tallypost_core.settings.providers import SMTPSettings
from tallypost_providers.account_checks import CheckStep, Watch, unwatched
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.host_resolver import resolver_for
from tallypost_providers.hosts import is_loopback
from tallypost_providers.message import render_async
from tallypost_providers.smtp_check import check_relay
from tallypost_providers.smtp_connection import SMTPConnection
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped
from tallypost_providers.smtp_guard import HostGuard
from tallypost_providers.smtp_handover import SMTPHandover
from tallypost_providers.smtp_opening import open_connection
from tallypost_providers.smtp_pool import Lease, SMTPPool
from tallypost_providers.tenant_settings import SMTPTenantSettings
from tallypost_providers.tls_trust import get_tls_context
from tallypost_providers.types import Capabilities, OutgoingEmail, SendResult
from tallypost_resilience.egress_rules import EgressRules

_HOST_NAME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


class SMTPProvider:
    """One SMTP relay as a provider; see `base` for what it promises.

    Results are per recipient: where the peer refuses some at RCPT, the others get the message.
    A kept connection that turns out to be dead costs one new connection within the same call.
    """

    name = "smtp"
    settings = SMTPSettings
    capabilities = Capabilities(
        raw_mime=True,
        keeps_message_id=True,
        keeps_envelope=True,
        signs_dkim=False,
        idempotent=False,
        lookup=False,
        events=False,
        reaches_outside=True,
    )

    def __init__(
        self, settings: SMTPSettings, account: str, guard: HostGuard | None = None
    ) -> None:
        """Raises ProviderMisconfigured, which names the variable; connects to nothing.

        With a guard the host is somebody else's choice, and connected to where that lets it.
        """
        self.account = account
        self.rate_per_s = settings.rate_per_s
        self.connections_per_domain = settings.connections_per_domain
        self._settings = settings
        self._guard = guard
        self._host = _require_host(settings)
        _require_login(settings, self._host)
        self._local_name = _local_name()
        self._tls = None if settings.security == "none" else get_tls_context()
        self._pool = SMTPPool(self._open, settings.connections)

    @classmethod
    def for_tenant(
        cls,
        settings: SMTPTenantSettings,
        account: str,
        *,
        rules: EgressRules,
        owner: str,
        endpoint: str | None = None,
    ) -> Self:
        """An account of a tenant, who chose the host: rules say where it may lead.

        All accounts of one owner share what an owner may have of look-ups at a time.
        """
        if endpoint is not None:
            raise ValueError("a relay has no address but the host of its settings")
        relay = SMTPSettings(
            host=settings.host,
            port=settings.port,
            security=settings.security,
            username=settings.username,
            password=settings.password,
            rate_per_s=settings.rate_per_s,
            connections=settings.connections,
        )
        return cls(relay, account, HostGuard(rules, resolver_for(owner)))

    def find_obstacle(self, _email: OutgoingEmail) -> str | None:
        """Nothing is known before the relay is asked."""
        return None

    async def send(self, email: OutgoingEmail, timeout_s: float) -> SendResult:
        """Hand one email over; see `types.Provider.send`.

        Raises ProviderBusy where no connection becomes free in one third of the time.
        """
        budget = Budget(timeout_s)
        handover = SMTPHandover(email, budget)
        if not handover.is_over:
            try:
                with await self._pool.lease(budget, is_bulk=email.is_bulk) as lease:
                    # Not sooner: those who wait would each keep a message in memory, and one that
                    # gets no place would have been signed for nothing.
                    await _run(handover, await render_async(email), lease)
            except HandoverStopped as stop:
                handover.stop(stop)
        return handover.result()

    async def check(self, timeout_s: float) -> tuple[CheckStep, ...]:
        """Open a session, say goodbye, and tell hop by hop how far it went; sends nothing."""
        return await check_relay(self._open, self._settings, self._host, self._guard, timeout_s)

    async def close(self) -> None:
        """Say goodbye on every idle connection; those in use end with their handovers."""
        await self._pool.close()

    async def _open(self, budget: Budget, watch: Watch = unwatched) -> SMTPConnection:
        return await open_connection(
            self._settings,
            self._host,
            self._local_name,
            self._tls,
            budget,
            guard=self._guard,
            watch=watch,
        )


async def _run(handover: SMTPHandover, message: bytes, lease: Lease) -> None:
    connection = await lease.connect(handover.budget)
    try:
        await handover.run(connection, message)
    except HandoverStopped as stop:
        # The peer may close a kept connection at any time, and that is nobody's fault: a new
        # one takes over, once, as long as not a byte of the body has left.
        if not (connection.is_reused and stop.is_broken) or stop.phase == "final":
            raise
        await handover.run(await lease.reconnect(handover.budget), message)


def _require_host(settings: SMTPSettings) -> str:
    host = (settings.host or "").strip()
    if not host:
        raise ProviderMisconfigured("TALLYPOST_SMTP_HOST is missing.")
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ProviderMisconfigured("TALLYPOST_SMTP_HOST is not a host name.") from error


def _require_login(settings: SMTPSettings, host: str) -> None:
    if settings.username is not None and settings.password is None:
        raise ProviderMisconfigured(
            "TALLYPOST_SMTP_USERNAME is set, TALLYPOST_SMTP_PASSWORD is missing."
        )
    if settings.password is not None and settings.username is None:
        raise ProviderMisconfigured(
            "TALLYPOST_SMTP_PASSWORD is set, TALLYPOST_SMTP_USERNAME is missing."
        )
    if settings.password is not None and settings.security == "none" and not is_loopback(host):
        raise ProviderMisconfigured(
            "TALLYPOST_SMTP_SECURITY is none: a password would travel in plain text."
        )


def _local_name() -> str:
    """The name for EHLO: ours where it is a full one, else an address literal, which is always
    allowed (RFC 5321, section 4.1.4). Asks no name server, which could take seconds."""
    name = socket.gethostname()
    return name if _HOST_NAME.fullmatch(name) else "[127.0.0.1]"
