"""Connects to hosts that somebody else chose, and only where they may lead.

A host is looked up once, all of its addresses are judged by the rules of the egress, and the
connection goes to one of those that were judged. So a name whose answers change leads nowhere else,
and one with a private address among its public ones leads nowhere at all.
"""

import asyncio
import socket
from typing import Final

from tallypost_providers.account_checks import Watch, unwatched
from tallypost_providers.smtp_deadlines import Budget
from tallypost_providers.smtp_failures import HandoverStopped, Silence
from tallypost_providers.smtp_protocol import SMTPProtocol
from tallypost_resilience.deadline import Deadline
from tallypost_resilience.egress import LookUp, open_socket
from tallypost_resilience.egress_rules import EgressForbidden, EgressRules

LOOK_UP: Final = "look up the host"
"""The step of a check that this module takes."""

# One for a name that does not exist, one without an address and one that leads inside: whoever
# could tell them apart would learn which names there are inside.
_NOT_PUBLIC: Final = "the host has no address on the public internet"
# A name may have any number of addresses, and each costs a try.
_MAX_TRIES: Final = 8


class HostGuard:
    """The way to the host of one account."""

    def __init__(self, rules: EgressRules, look_up: LookUp) -> None:
        """look_up is asked once for each connection, and told to stop when the time is up."""
        self._rules = rules
        self._look_up = look_up

    async def connect(
        self, host: str, port: int, budget: Budget, watch: Watch = unwatched
    ) -> SMTPProtocol:
        """Open a TCP connection to an address of the host; watch hears that one was found.

        Raises HandoverStopped, the same one where there is no address and where there is one that
        may not be connected to.
        """
        budget.require_time("connect")
        limit = Deadline.after(budget.left_s("connect"))
        addresses = await self._find_addresses(host, limit)
        watch(LOOK_UP, "")
        tried = addresses[:_MAX_TRIES]
        stop = HandoverStopped("connect", Silence.REFUSED, "no connection to the peer")
        for place, address in enumerate(tried):
            try:
                # One that does not answer leaves time for the others.
                async with asyncio.timeout(limit.remaining_s / (len(tried) - place)):
                    return await self._open(address, port)
            except TimeoutError:
                stop = HandoverStopped("connect", Silence.TIMEOUT, "no answer in time")
            except OSError:
                stop = HandoverStopped("connect", Silence.REFUSED, "no connection to the peer")
        raise stop

    async def _find_addresses(self, host: str, limit: Deadline) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(limit.remaining_s):
                found = tuple(dict.fromkeys(await self._look_up(host)))
            for address in found:
                self._rules.require_address(address)
        except TimeoutError as error:
            note = "the host's name was not answered for in time"
            raise HandoverStopped("connect", Silence.TIMEOUT, note) from error
        except (OSError, EgressForbidden) as error:
            raise HandoverStopped("connect", Silence.REFUSED, _NOT_PUBLIC) from error
        if not found:
            raise HandoverStopped("connect", Silence.REFUSED, _NOT_PUBLIC)
        return found

    async def _open(self, address: str, port: int) -> SMTPProtocol:
        loop = asyncio.get_running_loop()
        is_v6 = ":" in address
        peer = (address, port, 0, 0) if is_v6 else (address, port)
        family = socket.AF_INET6 if is_v6 else socket.AF_INET
        # It judges the address once more: whatever led to it, this is it.
        opened = open_socket(
            self._rules, (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", peer)
        )
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(opened, peer)
            _, protocol = await loop.create_connection(lambda: SMTPProtocol(loop), sock=opened)
        except BaseException:
            # Failed, or cancelled: either way nobody will close it later.
            opened.close()
            raise
        return protocol
