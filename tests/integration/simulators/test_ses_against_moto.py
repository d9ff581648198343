"""The simulated SES beside moto's, for what moto has: the same calls, the same fields and errors.

moto is more lenient than SES: it makes an identity twice, deletes one that is not there, and takes
mail from one that is not verified. There the simulator keeps to AWS's documentation.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from moto.server import ThreadedMotoServer

from tallypost_simulators.ses_simulator import SESSimulator
from tests.support.ses_client import DOMAIN, SESClient, message

SIMPLE = {"Simple": {"Subject": {"Data": "Hi"}, "Body": {"Text": {"Data": "Hello."}}}}
MANY = {"ToAddresses": [f"r{number}@example.net" for number in range(51)]}


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    """A running moto."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
async def both(moto_url: str) -> AsyncIterator[tuple[SESClient, SESClient]]:
    """Amazon's SDK at moto and at the simulator; DOMAIN may be sent from at both."""
    async with SESSimulator() as ses:
        moto, ours = SESClient(moto_url), SESClient(ses.url)
        ses.account.add_domain(DOMAIN)
        await moto("create_email_identity", EmailIdentity=DOMAIN)
        yield moto, ours
        moto.close()
        ours.close()


def require_fields(wanted: Any, answer: Any, path: str = "") -> None:
    """Fail unless the answer has every field of the wanted one, of the same type."""
    assert type(answer) is type(wanted), path
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert name in answer, f"{path}.{name}"
            require_fields(value, answer[name], f"{path}.{name}")


async def test_identities_are_described_with_the_same_fields(
    both: tuple[SESClient, SESClient],
) -> None:
    name = f"{uuid4().hex}.example"
    made = [await client("create_email_identity", EmailIdentity=name) for client in both]
    require_fields(*made)
    require_fields(*[await client("get_email_identity", EmailIdentity=name) for client in both])
    assert [await client("delete_email_identity", EmailIdentity=name) for client in both] == [
        {},
        {},
    ]


async def test_configuration_sets_are_described_with_the_same_fields(
    both: tuple[SESClient, SESClient],
) -> None:
    name = {"ConfigurationSetName": uuid4().hex}
    assert [await client("create_configuration_set", **name) for client in both] == [{}, {}]
    require_fields(*[await client("get_configuration_set", **name) for client in both])
    assert [await client("delete_configuration_set", **name) for client in both] == [{}, {}]


@pytest.mark.parametrize(
    "changes", [{}, {"Content": SIMPLE}, {"Destination": {"CcAddresses": ["ada@example.net"]}}]
)
async def test_sent_messages_are_answered_with_the_same_fields(
    both: tuple[SESClient, SESClient], changes: dict[str, Any]
) -> None:
    parameters = message(FromEmailAddress=f"hello@{DOMAIN}", **changes)
    require_fields(*[await client("send_email", **parameters) for client in both])


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("get_email_identity", {"EmailIdentity": "unknown.example"}),
        ("get_configuration_set", {"ConfigurationSetName": "unknown"}),
        ("send_email", message(FromEmailAddress="hello@unknown.example")),
    ],
)
async def test_refusals_have_the_same_status_and_name(
    both: tuple[SESClient, SESClient], operation: str, parameters: dict[str, Any]
) -> None:
    moto, ours = [(await client.refusal(operation, **parameters))[:2] for client in both]
    assert ours == moto


async def test_too_many_recipients_are_refused_by_both(both: tuple[SESClient, SESClient]) -> None:
    parameters = message(FromEmailAddress=f"hello@{DOMAIN}", Destination=MANY)
    statuses = [(await client.refusal("send_email", **parameters))[0] for client in both]
    assert statuses == [400, 400]
