"""Amazon SES v2 in one Region, for one account, on loopback.

It judges requests as AWS documents and answers its documented errors; signatures are verified. Mail
goes to whoever asked for it, else nowhere. Events go to SNS topics, which post to subscribed
addresses.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from tallypost_simulators.http_faults import HTTPFaults
from tallypost_simulators.http_server import Handler, HTTPServer, reset_connection
from tallypost_simulators.keeping import MessageRefused, OutcomeUnknown
from tallypost_simulators.ses_account import SESAccount
from tallypost_simulators.ses_errors import SESError
from tallypost_simulators.ses_events import (
    MATCHING_TYPES,
    EventType,
    describe_event,
    describe_suppressed,
)
from tallypost_simulators.ses_fields import Fields
from tallypost_simulators.ses_messages import TakenMessage
from tallypost_simulators.ses_operations import OPERATIONS, Operation
from tallypost_simulators.ses_sending import take_message
from tallypost_simulators.ses_signatures import verify_signature
from tallypost_simulators.sns_topics import SNSTopics

OnMessage = Callable[[TakenMessage], Awaitable[None]]
"""Keeps a message; raises what `keeping` has, or else anything: not kept now."""

Run = Callable[[SESAccount, Fields, str], Awaitable[dict[str, object]]]
"""Carries out one operation; see `Operation.run`."""

_log = logging.getLogger(__name__)

_SEND_PATH = "/v2/email/outbound-emails"

# The mailbox simulator of SES ("Using the mailbox simulator" in the developer guide).
_MAILBOXES: dict[str, EventType] = {
    "bounce@simulator.amazonses.com": "Bounce",
    "complaint@simulator.amazonses.com": "Complaint",
}


class SESSimulator(HTTPServer):
    """The service; `async with SESSimulator() as ses` runs it, `ses.url` is its endpoint."""

    def __init__(
        self,
        account: SESAccount | None = None,
        *,
        faults: HTTPFaults | None = None,
        on_message: OnMessage | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """faults are for SendEmail only. on_message is awaited before the answer goes out.

        Where on_message raises MessageRefused the client gets MessageRejected, after OutcomeUnknown
        no answer: the connection is reset. After anything else it gets ServiceUnavailable. Without
        on_message `messages` has what was taken.
        """
        self.account = account or SESAccount()
        self.messages: list[TakenMessage] = []
        self.topics = SNSTopics(lambda: self.url, lambda: self.account.now())
        self._on_message = on_message
        self._publishing: set[asyncio.Task[None]] = set()
        super().__init__(
            [*self.topics.routes, *self._routes()],
            faults=faults or HTTPFaults(),
            is_faulty=lambda request: request.path == _SEND_PATH,
            host=host,
            port=port,
        )

    async def stop(self) -> None:
        """Hang up on everybody, and publish nothing more."""
        for task in self._publishing:
            task.cancel()
        await asyncio.gather(*self._publishing, return_exceptions=True)
        await super().stop()

    async def publish(
        self, event_type: EventType, message: TakenMessage, recipients: Sequence[str] | None = None
    ) -> None:
        """Something happened to a message, for all its recipients or some."""
        whom = message.recipients if recipients is None else recipients
        await self._publish(
            event_type,
            message,
            describe_event(event_type, message, whom, self.account.now(), self.account.account_id),
        )

    async def settle(self) -> None:
        """Wait until every event so far has been posted."""
        while self._publishing:
            await asyncio.gather(*self._publishing)

    async def _send(self, account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
        message = take_message(account, fields)
        if self._on_message is None:
            self.messages.append(message)
        else:
            await _hand_on(self._on_message, message)
        if message.configuration_set is not None:
            task = asyncio.get_running_loop().create_task(self._report(message))
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)
        return {"MessageId": message.message_id}

    async def _report(self, message: TakenMessage) -> None:
        """What happens to a message by itself: sent, then delivered, bounced or complained of."""
        await self.publish("Send", message)
        for address in message.recipients:
            if address.lower() in self.account.suppressed:
                now, account_id = self.account.now(), self.account.account_id
                await self._publish(
                    "Bounce", message, describe_suppressed(message, [address], now, account_id)
                )
                continue
            fate = _MAILBOXES.get(address.lower(), "Delivery")
            if fate == "Complaint":
                await self.publish("Delivery", message, [address])
            await self.publish(fate, message, [address])

    async def _publish(
        self, event_type: EventType, message: TakenMessage, event: dict[str, object]
    ) -> None:
        found = self.account.configuration_sets.get(message.configuration_set or "")
        for destination in [*found.destinations.values()] if found else []:
            if destination.is_enabled and MATCHING_TYPES[event_type] in destination.event_types:
                subject = "Amazon SES Email Event Notification"
                await self.topics.publish(destination.topic_arn, json.dumps(event), subject)

    def _routes(self) -> list[web.RouteDef]:
        send = web.post(_SEND_PATH, self._handler("SendEmail", self._send))
        others = [
            web.route(
                operation.method, operation.path, self._handler(operation.name, _at_once(operation))
            )
            for operation in OPERATIONS
        ]
        return [send, *others]

    def _handler(self, operation: str, run: Run) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            request_id = str(uuid.uuid4())
            body = await request.read()
            account = self.account
            try:
                verify_signature(request, body, account.secrets, account.region, account.now())
                account.require_allowed(operation)
                answer = await run(account, _parse(body), request.match_info.get("name", ""))
            except SESError as error:
                return error.response(request_id)
            except OutcomeUnknown:
                _log.warning("ses_simulator.outcome_unknown")
                return reset_connection(request)
            return web.json_response(answer, headers={"x-amzn-RequestId": request_id})

        return handle


def _at_once(operation: Operation) -> Run:
    async def run(account: SESAccount, fields: Fields, name: str) -> dict[str, object]:
        return operation.run(account, fields, name)

    return run


async def _hand_on(on_message: OnMessage, message: TakenMessage) -> None:
    try:
        await on_message(message)
    except OutcomeUnknown:
        raise
    except MessageRefused as refusal:
        raise SESError(400, "MessageRejected", str(refusal)) from refusal
    # The callback is foreign code at the edge of this request: whatever it raised, the client must
    # hear that the message was not taken.
    except Exception as error:
        _log.warning("ses_simulator.not_stored error=%s", type(error).__name__)
        raise SESError(503, "ServiceUnavailable", "The message was not stored.") from error


def _parse(body: bytes) -> Fields:
    try:
        fields = json.loads(body or b"{}")
    except ValueError as error:
        raise SESError(400, "SerializationException", "The body is no JSON.") from error
    if not isinstance(fields, dict):
        raise SESError(400, "SerializationException", "The body is no object.")
    return fields
