"""The account of the simulated SES by Amazon's own SDK: states, quotas, credentials, signatures."""

import datetime as dt
from typing import Any

import aiohttp
import pytest

from tallypost_simulators.ses_account import SESAccount
from tallypost_simulators.ses_simulator import SESSimulator
from tests.support.ses_client import DOMAIN, SESClient, message


async def test_sandbox_takes_verified_recipients_only(ses: SESSimulator, client: SESClient) -> None:
    ses.account.is_in_sandbox = True
    _, code, text = await client.refused_send()
    assert (code, "ada@example.net" in text) == ("MessageRejected", True)
    ses.account.add_domain("ada@example.net")
    await client("send_email", **message())


async def test_account_states_are_told_and_enforced(ses: SESSimulator, client: SESClient) -> None:
    assert (await client("get_account"))["SendingEnabled"] is True
    ses.account.is_paused = True
    assert (await client("get_account"))["SendingEnabled"] is False
    assert (await client.refused_send())[:2] == (400, "SendingPausedException")
    ses.account.is_suspended = True
    assert (await client("get_account"))["EnforcementStatus"] == "SHUTDOWN"
    assert (await client.refused_send())[:2] == (400, "AccountSuspendedException")


async def test_quota_counts_recipients_and_renews_after_a_day() -> None:
    now = dt.datetime.now(dt.UTC)
    clock = {"now": now}
    account = SESAccount(now=lambda: clock["now"])
    account.add_domain(DOMAIN)
    account.max_24_hour_send = 3
    async with SESSimulator(account) as ses:
        client = SESClient(ses.url)
        two = {"ToAddresses": ["ada@example.net", "bob@example.net"]}
        await client("send_email", **message(Destination=two))
        assert (await client("get_account"))["SendQuota"]["SentLast24Hours"] == 2
        refusal = await client.refused_send(Destination=two)
        assert refusal == (400, "ThrottlingException", "Daily message quota exceeded.")
        clock["now"] = now + dt.timedelta(minutes=4)
        assert account.count_sent() == 2
        clock["now"] = now + dt.timedelta(hours=24)
        assert account.count_sent() == 0
        client.close()


async def test_account_without_a_quota_takes_what_comes(
    ses: SESSimulator, client: SESClient
) -> None:
    ses.account.max_24_hour_send = -1
    await client("send_email", **message())
    quota = (await client("get_account"))["SendQuota"]
    assert (quota["Max24HourSend"], quota["SentLast24Hours"]) == (-1, 1)


async def test_rate_is_a_bound_of_each_second(ses: SESSimulator, client: SESClient) -> None:
    moment = dt.datetime.now(dt.UTC)
    ses.account.now = lambda: moment
    ses.account.max_send_rate = 2
    await client("send_email", **message())
    await client("send_email", **message())
    refusal = await client.refused_send()
    assert refusal == (429, "TooManyRequestsException", "Maximum sending rate exceeded.")
    later = moment + dt.timedelta(seconds=1)
    ses.account.now = lambda: later
    await client("send_email", **message())


@pytest.mark.parametrize(
    ("others", "name"),
    [
        ({"aws_access_key_id": "AKIAUNKNOWN"}, "UnrecognizedClientException"),
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
        ({"region_name": "us-east-1"}, "InvalidSignatureException"),
    ],
)
async def test_request_that_is_signed_wrongly_is_refused(
    ses: SESSimulator, others: dict[str, str], name: str
) -> None:
    client = SESClient(ses.url, **others)
    assert (await client.refusal("get_account"))[:2] == (403, name)
    client.close()


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_request_of_another_time_is_refused(
    ses: SESSimulator, client: SESClient, minutes: int
) -> None:
    ses.account.now = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
    status, name, text = await client.refusal("get_account")
    assert (status, name) == (403, "InvalidSignatureException")
    assert ("expired" if minutes > 0 else "not yet current") in text


async def test_credentials_may_be_revoked_expired_or_kept_from_an_operation(
    ses: SESSimulator, client: SESClient
) -> None:
    ses.account.denied.add("SendEmail")
    assert (await client.refused_send())[:2] == (403, "AccessDeniedException")
    ses.account.is_token_expired = True
    assert (await client.refused_send())[:2] == (403, "ExpiredTokenException")
    ses.account.secrets.clear()
    assert (await client.refused_send())[:2] == (403, "UnrecognizedClientException")


async def test_request_that_is_not_signed_or_was_changed_on_the_way_is_refused(
    ses: SESSimulator, client: SESClient
) -> None:
    signed: dict[str, str] = {}

    def keep(request: Any, **others: Any) -> None:
        signed.update({name: _text(value) for name, value in request.headers.items()})

    client.sdk.meta.events.register("before-send.sesv2.*", keep)
    await client("create_configuration_set", ConfigurationSetName="main")
    url = f"{ses.url}/v2/email/configuration-sets"
    signed.pop("Content-Length", None)
    async with aiohttp.ClientSession() as browser:
        for headers in ({}, signed):
            async with browser.post(url, data=b"{}", headers=headers) as answer:
                assert answer.status == 403
                names = ("MissingAuthenticationTokenException", "InvalidSignatureException")
                assert answer.headers["x-amzn-ErrorType"] == names[bool(headers)]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
