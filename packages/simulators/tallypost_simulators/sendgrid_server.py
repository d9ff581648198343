"""A SendGrid that runs here: as much of its v3 API as sending mail needs.

It takes mail, judges it as strictly as SendGrid documents, and keeps it. Faults happen to Mail Send
only; what the account may do is turned at `account`, and which domains it has at `domains`.
"""

import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from tallypost_simulators.http_faults import HTTPFaults
from tallypost_simulators.http_server import HTTPServer
from tallypost_simulators.sendgrid_account import Account, TakenMail
from tallypost_simulators.sendgrid_activity import find_messages
from tallypost_simulators.sendgrid_domains import AuthenticatedDomains
from tallypost_simulators.sendgrid_errors import (
    FORBIDDEN,
    MEDIA_TYPE,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    UNAVAILABLE,
    UNVERIFIED,
    FieldError,
    SendGridError,
    bad_request,
    json_response,
    too_large_page,
)
from tallypost_simulators.sendgrid_events import Event, EventKind, SignedEvents, make_event
from tallypost_simulators.sendgrid_mime import write_message
from tallypost_simulators.sendgrid_requests import find_errors, list_recipients, merge_args

MAX_BODY_BYTES: Final = 30 * 1024 * 1024
_SEND: Final = "/v3/mail/send"
_DOMAINS: Final = "/v3/whitelabel/domains"
# Of each kind of request its own, as the list of an API key's permissions has them.
_CREATE_DOMAINS: Final = "whitelabel.create"
_READ_DOMAINS: Final = "whitelabel.read"
_UPDATE_DOMAINS: Final = "whitelabel.update"
_DELETE_DOMAINS: Final = "whitelabel.delete"

Handler = Callable[[web.Request], Awaitable[web.Response]]


class SendGridSimulator(HTTPServer):
    """The server; `async with SendGridSimulator() as sendgrid` runs it at `sendgrid.url`."""

    def __init__(
        self,
        *,
        on_message: Callable[[TakenMail], None] | None = None,
        faults: HTTPFaults | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """on_message hears of each message that is taken; port 0 takes a free one."""
        self.account = Account()
        self.domains = AuthenticatedDomains()
        self.events = SignedEvents()
        self.messages: list[TakenMail] = []
        self._on_message = on_message
        self._happened: list[Event] = []
        self._paths: list[str] = []
        super().__init__(
            self._routes(),
            faults=faults or HTTPFaults(),
            is_faulty=lambda request: request.path == _SEND,
            host=host,
            port=port,
        )

    def happen(self, mail: TakenMail, address: str, kind: EventKind) -> Event:
        """Let something happen to a recipient's message; `report` tells a webhook of it."""
        event = make_event(mail, address, kind)
        self._happened.append(event)
        return event

    async def report(self, url: str, events: Sequence[Event]) -> int:
        """Post events to a webhook, together; the status that came back."""
        return await self.events.post(url, events)

    def _routes(self) -> list[web.RouteDef]:
        domains = self.domains
        one = _DOMAINS + r"/{id:\d+}"
        settings = "/v3/user/webhooks/event/settings/signed"
        return [
            self._route("POST", _SEND, "mail.send", self._send),
            self._route("GET", "/v3/scopes", "", self._list_scopes),
            self._route("GET", "/v3/messages", "email_activity.read", self._list_messages),
            self._route("GET", "/v3/suppression/bounces", "", self._list_bounces),
            self._route("GET", settings, "", self._show_public_key),
            self._route("POST", _DOMAINS, _CREATE_DOMAINS, domains.create),
            self._route("GET", _DOMAINS, _READ_DOMAINS, domains.list),
            self._route("GET", one, _READ_DOMAINS, domains.get),
            self._route("DELETE", one, _DELETE_DOMAINS, domains.delete),
            self._route("POST", f"{one}/validate", _UPDATE_DOMAINS, domains.validate),
            web.route("*", "/{path:.*}", self._find_nothing),
        ]

    def _route(self, method: str, path: str, scope: str, handler: Handler) -> web.RouteDef:
        self._paths.append(path)
        endpoint = path.removeprefix("/v3/")

        async def handle(request: web.Request) -> web.Response:
            headers: dict[str, str] = {}
            # nginx stands before everything that knows of keys and rates.
            if len(await request.read()) > MAX_BODY_BYTES:
                return too_large_page()
            try:
                self.account.require_key(request.headers.get("Authorization", ""), scope)
                self.account.count(endpoint, headers)
                response = await handler(request)
            except SendGridError as error:
                response = error.refusal.respond()
            response.headers.update(headers)
            return response

        return web.route(method, path, handle)

    async def _find_nothing(self, request: web.Request) -> web.Response:
        refusal = METHOD_NOT_ALLOWED if request.path in self._paths else NOT_FOUND
        return refusal.respond()

    async def _send(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.content_type != "application/json":
            raise SendGridError(MEDIA_TYPE)
        mail = _parse(body)
        if errors := find_errors(mail):
            raise bad_request(errors)
        if not self.domains.may_send_from(mail["from"]["email"].rpartition("@")[2].lower()):
            raise SendGridError(UNVERIFIED)
        if mail.get("mail_settings", {}).get("sandbox_mode", {}).get("enable", False):
            return web.Response(status=200)
        message_id = secrets.token_urlsafe(16)
        for personalization in mail["personalizations"]:
            self._take(mail, personalization, body, message_id)
        return web.Response(status=202, headers={"X-Message-Id": message_id})

    def _take(
        self, mail: Mapping[str, Any], personalization: Mapping[str, Any], body: bytes, id_: str
    ) -> None:
        taken = TakenMail(
            id_,
            tuple(list_recipients(personalization)),
            mail,
            body,
            write_message(mail, personalization),
            merge_args(mail, personalization),
            time.time(),
        )
        self.messages.append(taken)
        if self._on_message is not None:
            self._on_message(taken)

    async def _list_scopes(self, request: web.Request) -> web.Response:
        return json_response(200, {"scopes": sorted(self.account.scopes)})

    async def _list_messages(self, request: web.Request) -> web.Response:
        if not self.account.has_activity:
            raise SendGridError(FORBIDDEN)
        if self.account.is_activity_down:
            raise SendGridError(UNAVAILABLE)
        shown_until_s = time.time() - self.account.activity_delay_s
        limit = request.query.get("limit", "10")
        found = find_messages(
            request.query.get("query", ""),
            int(limit) if limit.isdigit() else 0,
            [mail for mail in self.messages if mail.taken_at_s <= shown_until_s],
            self._happened,
        )
        return json_response(200, {"messages": found})

    async def _list_bounces(self, request: web.Request) -> web.Response:
        bounces = [
            {
                "created": event["timestamp"],
                "email": event["email"],
                "reason": event["reason"],
                "status": event["status"],
            }
            for event in self._happened
            if event["event"] == "bounce"
        ]
        return json_response(200, bounces)

    async def _show_public_key(self, request: web.Request) -> web.Response:
        return json_response(200, {"public_key": self.events.public_key})


# Any: untyped JSON, which is judged next.
def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise bad_request([FieldError("Bad Request")]) from error
