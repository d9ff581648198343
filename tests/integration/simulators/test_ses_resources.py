"""What an account at the simulated SES has, by Amazon's own SDK."""

import base64

import pytest

from tallypost_simulators.ses_simulator import SESSimulator
from tests.support.ses_client import SESClient
from tests.unit.providers.emails import keypair


async def test_identity_lives_from_creation_to_deletion(
    ses: SESSimulator, client: SESClient
) -> None:
    key = base64.b64encode(keypair("rsa-sha256").private_key).decode("ascii")
    made = await client(
        "create_email_identity",
        EmailIdentity="new.example",
        Tags=[{"Key": "a", "Value": "b"}],
        DkimSigningAttributes={"DomainSigningSelector": "s1", "DomainSigningPrivateKey": key},
    )
    assert made["VerifiedForSendingStatus"] is False
    assert made["DkimAttributes"]["SigningAttributesOrigin"] == "EXTERNAL"
    assert made["DkimAttributes"]["Tokens"] == ["s1"]
    refusal = await client.refusal("create_email_identity", EmailIdentity="new.example")
    assert refusal[:2] == (400, "AlreadyExistsException")
    ses.account.verify("new.example")
    found = await client("get_email_identity", EmailIdentity="new.example")
    assert found["VerifiedForSendingStatus"] is True
    assert found["Tags"] == [{"Key": "a", "Value": "b"}]
    changed = await client(
        "put_email_identity_dkim_signing_attributes",
        EmailIdentity="new.example",
        SigningAttributesOrigin="EXTERNAL",
        SigningAttributes={"DomainSigningSelector": "s2", "DomainSigningPrivateKey": key},
    )
    assert changed == {"DkimStatus": "PENDING", "DkimTokens": ["s2"]}
    await client("delete_email_identity", EmailIdentity="new.example")
    refusal = await client.refusal("get_email_identity", EmailIdentity="new.example")
    assert refusal[:2] == (404, "NotFoundException")


async def test_address_is_an_identity_too(client: SESClient) -> None:
    made = await client("create_email_identity", EmailIdentity="a+b@new.example")
    assert made["IdentityType"] == "EMAIL_ADDRESS"
    await client("get_email_identity", EmailIdentity="a+b@new.example")


@pytest.mark.parametrize(
    "attributes",
    [
        {"DomainSigningSelector": "under_score", "DomainSigningPrivateKey": "AAAA"},
        {"DomainSigningSelector": "s1", "DomainSigningPrivateKey": "-----BEGIN"},
        {"DomainSigningSelector": "s1", "DomainSigningPrivateKey": "AAAA"},
        {"DomainSigningSelector": "s1"},
    ],
)
async def test_key_that_cannot_sign_is_refused(
    client: SESClient, attributes: dict[str, str]
) -> None:
    refusal = await client.refusal(
        "create_email_identity", EmailIdentity="new.example", DkimSigningAttributes=attributes
    )
    assert refusal[:2] == (400, "BadRequestException")


async def test_suppressed_addresses_are_put_told_and_deleted(client: SESClient) -> None:
    address = "ada+x@example.net"
    await client("put_suppressed_destination", EmailAddress=address, Reason="BOUNCE")
    found = await client("get_suppressed_destination", EmailAddress=address)
    assert found["SuppressedDestination"]["Reason"] == "BOUNCE"
    assert found["SuppressedDestination"]["LastUpdateTime"].tzinfo is not None
    listed = await client("list_suppressed_destinations")
    assert [item["EmailAddress"] for item in listed["SuppressedDestinationSummaries"]] == [address]
    await client("delete_suppressed_destination", EmailAddress=address)
    refusal = await client.refusal("get_suppressed_destination", EmailAddress=address)
    assert refusal[:2] == (404, "NotFoundException")


async def test_configuration_set_lives_from_creation_to_deletion(client: SESClient) -> None:
    name = {"ConfigurationSetName": "main"}
    await client("create_configuration_set", **name)
    refusal = await client.refusal("create_configuration_set", **name)
    assert refusal[:2] == (400, "AlreadyExistsException")
    definition = {
        "Enabled": True,
        "MatchingEventTypes": ["SEND", "BOUNCE"],
        "SnsDestination": {"TopicArn": "arn:aws:sns:eu-west-1:123456789012:events"},
    }
    await client(
        "create_configuration_set_event_destination",
        **name,
        EventDestinationName="sns",
        EventDestination=definition,
    )
    listed = await client("get_configuration_set_event_destinations", **name)
    assert listed["EventDestinations"] == [{"Name": "sns", **definition}]
    arn = "arn:aws:ses:eu-west-1:123456789012:configuration-set/main"
    await client("tag_resource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    found = await client("get_configuration_set", **name)
    assert found["Tags"] == [{"Key": "a", "Value": "b"}]
    await client("delete_configuration_set", **name)
    assert (await client.refusal("get_configuration_set", **name))[1] == "NotFoundException"
