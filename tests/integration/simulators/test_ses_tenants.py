"""Tenants of the simulated SES by Amazon's own SDK."""

from tallypost_simulators.ses_simulator import SESSimulator
from tests.support.ses_client import DOMAIN, SESClient, message

IDENTITY = f"arn:aws:ses:eu-west-1:123456789012:identity/{DOMAIN}"
SET = "arn:aws:ses:eu-west-1:123456789012:configuration-set/main"


async def test_tenant_is_made_told_and_not_made_twice(client: SESClient) -> None:
    made = await client("create_tenant", TenantName="acme", Tags=[{"Key": "a", "Value": "b"}])
    assert made["TenantArn"].endswith(f":tenant/acme/{made['TenantId']}")
    found = (await client("get_tenant", TenantName="acme"))["Tenant"]
    assert found == made
    assert found["CreatedTimestamp"].tzinfo is not None
    assert (await client.refusal("create_tenant", TenantName="acme"))[:2] == (
        400,
        "AlreadyExistsException",
    )
    refusal = await client.refusal("get_tenant", TenantName="other")
    assert refusal[:2] == (404, "NotFoundException")
    assert (await client.refusal("create_tenant", TenantName="a b"))[1] == "BadRequestException"


async def test_message_for_a_tenant_needs_the_identity_and_the_configuration_set_of_it(
    ses: SESSimulator, client: SESClient
) -> None:
    await client("create_configuration_set", ConfigurationSetName="main")
    for name in ("acme", "second"):
        await client("create_tenant", TenantName=name)
    sent = {"TenantName": "acme", "ConfigurationSetName": "main"}
    assert await client.refused_send(**sent) == (
        403,
        "AccessDeniedException",
        f"Tenant not associated with resources [{IDENTITY}, {SET}].",
    )
    associate, acme = "create_tenant_resource_association", {"TenantName": "acme"}
    await client(associate, **acme, ResourceArn=IDENTITY)
    _, _, words = await client.refused_send(**sent)
    assert words == f"Tenant not associated with resources [{SET}]."
    await client(associate, **acme, ResourceArn=SET)
    await client("send_email", **message(**sent))
    (taken,) = ses.messages
    assert taken.tenant_name == "acme"
    listed = await client("list_tenant_resources", **acme)
    assert listed["TenantResources"] == [
        {"ResourceType": "CONFIGURATION_SET", "ResourceArn": SET},
        {"ResourceType": "EMAIL_IDENTITY", "ResourceArn": IDENTITY},
    ]
    assert (await client.refused_send(TenantName="second"))[1] == "AccessDeniedException"
    await client("delete_tenant_resource_association", **acme, ResourceArn=IDENTITY)
    assert (await client.refused_send(**sent))[1] == "AccessDeniedException"


async def test_association_of_what_is_not_there_is_refused_and_so_is_a_second_one(
    client: SESClient,
) -> None:
    await client("create_tenant", TenantName="acme")
    associate = "create_tenant_resource_association"
    for arn, name in (
        (f"{IDENTITY}.net", "NotFoundException"),
        (SET, "NotFoundException"),
        (IDENTITY.replace("123456789012", "210987654321"), "BadRequestException"),
        ("nothing", "BadRequestException"),
    ):
        assert (await client.refusal(associate, TenantName="acme", ResourceArn=arn))[1] == name
    await client(associate, TenantName="acme", ResourceArn=IDENTITY)
    refusal = await client.refusal(associate, TenantName="acme", ResourceArn=IDENTITY)
    assert refusal[1] == "AlreadyExistsException"
    refusal = await client.refusal(associate, TenantName="other", ResourceArn=IDENTITY)
    assert refusal[1] == "NotFoundException"
