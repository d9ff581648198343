"""The SendGrid simulator judged by SendGrid's own Python library."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from python_http_client import exceptions
from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import (
    Attachment,
    Bcc,
    Cc,
    Content,
    CustomArg,
    Disposition,
    FileContent,
    FileName,
    FileType,
    Header,
    Mail,
    MailSettings,
    Personalization,
    SandBoxMode,
    To,
)

from tallypost_simulators.http_faults import HTTPFault
from tallypost_simulators.sendgrid_account import API_KEY, RateLimit
from tallypost_simulators.sendgrid_server import MAX_BODY_BYTES, SendGridSimulator

DOMAIN = "news.example.com"


@pytest.fixture
async def simulator() -> AsyncIterator[SendGridSimulator]:
    """A simulator that sends from DOMAIN."""
    async with SendGridSimulator() as running:
        running.domains.add_verified(DOMAIN)
        yield running


# Any: the library has no types, and JSON has none either.
class Client:
    """The library, which blocks, in a thread."""

    def __init__(self, simulator: SendGridSimulator, key: str = API_KEY) -> None:
        self._sdk = SendGridAPIClient(key, host=simulator.url)

    async def send(self, mail: Any) -> Any:
        """The answer to a mail."""
        return await asyncio.to_thread(self._sdk.send, mail)

    async def refused(self, mail: Any) -> tuple[int, list[dict[str, Any]]]:
        """Status and errors of a mail that is not taken."""
        with pytest.raises(exceptions.HTTPError) as caught:
            await self.send(mail)
        return caught.value.status_code, caught.value.to_dict["errors"]

    async def call(self, method: str, path: str, **arguments: Any) -> Any:
        """The answer to any other request."""
        resource = getattr(self._sdk.client._(path), method)
        return await asyncio.to_thread(resource, **arguments)


@pytest.fixture
def client(simulator: SendGridSimulator) -> Client:
    """The library with the key that works."""
    return Client(simulator)


def make_mail(**fields: Any) -> dict[str, Any]:
    """The JSON of a small mail; fields replace or remove (None) what it has."""
    mail = Mail(f"hello@{DOMAIN}", "ada@example.net", "Hello", "plain", "<p>html").get()
    return {key: value for key, value in {**mail, **fields}.items() if value is not None}


def to(*addresses: str, **fields: Any) -> dict[str, Any]:
    return {"to": [{"email": address} for address in addresses], **fields}


async def test_mail_of_the_library_is_queued_with_all_that_it_has(
    simulator: SendGridSimulator, client: Client
) -> None:
    mail = Mail((f"hello@{DOMAIN}", "News"), None, "Hello", "plain", "<p>html")
    personalization = Personalization()
    for recipient in (To("ada@example.net", "Ada"), Cc("bob@example.net"), Bcc("eve@hidden.test")):
        personalization.add_email(recipient)
    personalization.add_custom_arg(CustomArg("own", "1"))
    mail.add_personalization(personalization)
    mail.add_custom_arg(CustomArg("all", "2"))
    mail.add_header(Header("X-Order", "7"))
    mail.add_attachment(
        Attachment(
            FileContent(base64.b64encode(b"abc").decode()),
            FileName("a.txt"),
            FileType("text/plain"),
            Disposition("attachment"),
        )
    )
    answer = await client.send(mail)
    (taken,) = simulator.messages
    assert (answer.status_code, answer.body) == (202, b"")
    assert answer.headers["X-Message-Id"] == taken.message_id
    assert taken.recipients == ("ada@example.net", "bob@example.net", "eve@hidden.test")
    assert taken.custom_args == {"own": "1", "all": "2"}
    assert b"X-Order: 7" in taken.message
    assert b"hidden.test" not in taken.message


async def test_each_personalization_is_a_message(
    simulator: SendGridSimulator, client: Client
) -> None:
    await client.send(make_mail(personalizations=[to("a@example.net"), to("b@example.net")]))
    assert [taken.recipients for taken in simulator.messages] == [
        ("a@example.net",),
        ("b@example.net",),
    ]


async def test_sandbox_judges_and_sends_nothing(
    simulator: SendGridSimulator, client: Client
) -> None:
    mail = Mail(f"hello@{DOMAIN}", "ada@example.net", "Hello", "plain")
    mail.mail_settings = MailSettings(sandbox_mode=SandBoxMode(enable=True))
    assert (await client.send(mail)).status_code == 200
    assert simulator.messages == []


async def test_every_answer_tells_the_rate_limit(
    simulator: SendGridSimulator, client: Client
) -> None:
    simulator.account.rate_limit = RateLimit(requests=1, period_s=3600.0)
    answer = await client.send(make_mail())
    assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]) == (
        "1",
        "0",
    )
    with pytest.raises(exceptions.TooManyRequestsError) as caught:
        await client.send(make_mail())
    assert caught.value.to_dict == {
        "errors": [{"message": "too many requests", "field": None, "help": None}]
    }
    assert int(caught.value.headers["X-RateLimit-Reset"]) % 3600 == 0
    assert len(simulator.messages) == 1


def attachment(**fields: Any) -> list[dict[str, Any]]:
    return [{"content": "YQ==", "filename": "a", **fields}]


# Each: what the request says in the place of something good, and the field that is named.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({"personalizations": []}, "personalizations"),
    "no to": ({"personalizations": [{"cc": [{"email": "a@b.net"}]}]}, "personalizations.0.to"),
    "address": ({"personalizations": [to("nobody")]}, "personalizations.0.to.0.email"),
    "unicode": ({"personalizations": [to("é@b.net")]}, "personalizations.0.to.0.email"),
    "twice": ({"personalizations": [to("a@b.net", "A@b.net")]}, "personalizations.0"),
    "also in bcc": (
        {"personalizations": [to("a@b.net", bcc=[{"email": "a@b.net"}])]},
        "personalizations.0",
    ),
    "too many": (
        {"personalizations": [to(*(f"r{number}@b.net" for number in range(1001)))]},
        "personalizations",
    ),
    "name": (
        {"personalizations": [{"to": [{"email": "a@b.net", "name": "Doe, Ada"}]}]},
        "personalizations.0.to.0.name",
    ),
    "no sender": ({"from": None}, "from"),
    "sender": ({"from": {"email": "nobody"}}, "from.email"),
    "no subject": ({"subject": None}, "subject"),
    "empty subject": ({"subject": ""}, "subject"),
    "no content": ({"content": None}, "content"),
    "empty content": ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
    "order": (
        {
            "content": [
                {"type": "text/html", "value": "a"},
                {"type": "text/plain", "value": "b"},
            ]
        },
        "content",
    ),
    "reserved header": ({"headers": {"DKIM-Signature": "a"}}, "headers"),
    "header name": ({"headers": {"X é": "a"}}, "headers"),
    "header value": ({"headers": {"X-A": 1}}, "headers"),
    "header twice": ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
    "argument": ({"custom_args": {"a": 1}}, "personalizations.0.custom_args"),
    "arguments": ({"custom_args": {"a": "x" * 10_001}}, "personalizations.0.custom_args"),
    "no base64": ({"attachments": attachment(content="not base64!")}, "attachments.0.content"),
    "empty file": ({"attachments": attachment(content="")}, "attachments.0.content"),
    "file type": ({"attachments": attachment(type="a/b; c=d")}, "attachments.0.type"),
    "disposition": ({"attachments": attachment(disposition="x")}, "attachments.0.disposition"),
    "both replies": (
        {"reply_to": {"email": "a@b.net"}, "reply_to_list": [{"email": "a@b.net"}]},
        "reply_to_list",
    ),
    "categories": ({"categories": ["a", "a"]}, "categories"),
    "tracking": (
        {"tracking_settings": {"click_tracking": {"enable": "no"}}},
        "tracking_settings.click_tracking.enable",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_request_is_told_the_field(
    simulator: SendGridSimulator, client: Client, name: str
) -> None:
    fields, field = WRONG[name]
    status, errors = await client.refused(make_mail(**fields))
    assert status == 400
    assert field in [error["field"] for error in errors]
    assert all(set(error) == {"message", "field", "help"} for error in errors)
    assert simulator.messages == []


async def test_all_that_is_wrong_is_told_at_once(client: Client) -> None:
    _, errors = await client.refused(make_mail(subject=None, content=None))
    assert [error["field"] for error in errors] == ["subject", "content"]


async def test_name_in_quotes_may_have_a_comma(
    simulator: SendGridSimulator, client: Client
) -> None:
    recipient = {"email": "a@b.net", "name": '"Doe, Ada"'}
    await client.send(make_mail(personalizations=[{"to": [recipient]}]))
    assert b'To: "Doe, Ada" <a@b.net>' in simulator.messages[0].message


async def test_account_is_judged_before_the_mail(simulator: SendGridSimulator) -> None:
    wrong = Client(simulator, key="SG.another.key")
    status, errors = await wrong.refused(make_mail(content=None))
    assert status == 401
    assert errors[0]["message"] == (
        "The provided authorization grant is invalid, expired, or revoked"
    )
    client = Client(simulator)
    simulator.account.scopes.discard("mail.send")
    assert await client.refused(make_mail()) == (
        403,
        [{"message": "access forbidden", "field": None, "help": None}],
    )


async def test_sender_that_is_not_verified_is_forbidden(
    simulator: SendGridSimulator, client: Client
) -> None:
    status, errors = await client.refused(make_mail(**{"from": {"email": "a@example.org"}}))
    assert (status, errors[0]["field"]) == (403, "from")
    assert simulator.messages == []


async def test_request_that_is_too_large_is_not_taken(
    simulator: SendGridSimulator, client: Client
) -> None:
    content = [Content("text/plain", "x" * MAX_BODY_BYTES).get()]
    with pytest.raises(exceptions.PayloadTooLargeError) as caught:
        await client.send(make_mail(content=content))
    # By the nginx before the API, which knows of no rates.
    assert b"<center>nginx</center>" in caught.value.body
    assert "X-RateLimit-Limit" not in caught.value.headers
    assert simulator.messages == []


async def test_resources_and_methods_that_do_not_exist_are_told_apart(client: Client) -> None:
    with pytest.raises(exceptions.NotFoundError):
        await client.call("get", "nothing")
    with pytest.raises(exceptions.MethodNotAllowedError):
        await client.call("get", "mail/send")


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("whitelabel.create", "post", "whitelabel/domains"),
        ("whitelabel.read", "get", "whitelabel/domains"),
        ("whitelabel.update", "post", "whitelabel/domains/1/validate"),
        ("whitelabel.delete", "delete", "whitelabel/domains/1"),
    ],
)
async def test_each_kind_of_request_about_domains_has_a_scope_of_its_own(
    scope: str, method: str, path: str, simulator: SendGridSimulator, client: Client
) -> None:
    simulator.account.scopes.discard(scope)
    with pytest.raises(exceptions.ForbiddenError):
        await client.call(method, path)


async def test_domain_lives_from_its_registration_to_its_end(
    simulator: SendGridSimulator, client: Client
) -> None:
    domains = "whitelabel/domains"
    created = await client.call(
        "post", domains, request_body={"domain": "example.org", "subdomain": "mail"}
    )
    domain = created.to_dict
    assert (created.status_code, domain["valid"], domain["dns"]["mail_cname"]["host"]) == (
        201,
        False,
        "mail.example.org",
    )
    with pytest.raises(exceptions.BadRequestsError):
        await client.call(
            "post", domains, request_body={"domain": "example.org", "subdomain": "mail"}
        )
    one = f"{domains}/{domain['id']}"
    checked = (await client.call("post", f"{one}/validate")).to_dict
    assert not checked["valid"]
    assert checked["validation_results"]["dkim1"]["reason"]
    simulator.domains.publish("example.org")
    assert (await client.call("post", f"{one}/validate")).to_dict["valid"]
    assert (await client.call("get", one)).to_dict["dns"]["dkim2"]["valid"]
    found = await client.call("get", domains, query_params={"domain": "example.org"})
    assert [entry["id"] for entry in found.to_dict] == [domain["id"]]
    assert (await client.call("delete", one)).status_code == 204
    with pytest.raises(exceptions.NotFoundError):
        await client.call("get", one)


async def test_feed_finds_a_message_by_its_arguments(
    simulator: SendGridSimulator, client: Client
) -> None:
    await client.send(make_mail(custom_args={"our": "1"}))
    await client.send(make_mail(custom_args={"our": "2"}))
    query = {"limit": 10, "query": "unique_args['our']=\"2\""}
    (found,) = (await client.call("get", "messages", query_params=query)).to_dict["messages"]
    assert found["msg_id"].startswith(simulator.messages[1].message_id)
    assert (found["to_email"], found["status"]) == ("ada@example.net", "processed")
    with pytest.raises(exceptions.BadRequestsError):
        await client.call("get", "messages", query_params={"query": "bad_field=1"})


async def test_feed_is_an_add_on_with_a_limit_of_its_own(
    simulator: SendGridSimulator, client: Client
) -> None:
    query = {"query": 'to_email="ada@example.net"'}
    for _ in range(6):
        await client.call("get", "messages", query_params=query)
    with pytest.raises(exceptions.TooManyRequestsError):
        await client.call("get", "messages", query_params=query)
    assert (await client.send(make_mail())).status_code == 202
    simulator.account.activity_rate_limit = RateLimit(requests=100, period_s=60.0)
    simulator.account.has_activity = False
    with pytest.raises(exceptions.ForbiddenError):
        await client.call("get", "messages", query_params=query)


async def test_feed_shows_a_message_late_and_may_be_down_while_mail_is_taken(
    simulator: SendGridSimulator, client: Client
) -> None:
    query = {"query": 'to_email="ada@example.net"'}
    simulator.account.activity_delay_s = 3600.0
    assert (await client.send(make_mail())).status_code == 202
    late = await client.call("get", "messages", query_params=query)
    assert late.to_dict["messages"] == []
    simulator.account.activity_delay_s = 0.0
    shown = await client.call("get", "messages", query_params=query)
    assert len(shown.to_dict["messages"]) == 1
    simulator.account.is_activity_down = True
    with pytest.raises(exceptions.ServiceUnavailableError):
        await client.call("get", "messages", query_params=query)
    assert (await client.send(make_mail())).status_code == 202


async def test_key_can_ask_what_it_may_do(client: Client) -> None:
    assert "mail.send" in (await client.call("get", "scopes")).to_dict["scopes"]


async def test_fault_reaches_the_library_as_its_own_error(
    simulator: SendGridSimulator, client: Client
) -> None:
    body = b'{"errors":[{"message":"internal server error"}]}'
    simulator.faults.replace(HTTPFault(status=500, body=body, times=1))
    with pytest.raises(exceptions.InternalServerError) as caught:
        await client.send(make_mail())
    assert caught.value.to_dict["errors"][0]["message"] == "internal server error"
    assert (await client.send(make_mail())).status_code == 202
