"""Which request asks for which operation of SES v2, by AWS's own model of the service."""

from collections.abc import Callable

from msgspec import Struct

from tallypost_simulators import ses_identities, ses_resources, ses_tenants
from tallypost_simulators.ses_account import SESAccount
from tallypost_simulators.ses_fields import Fields

_IDENTITIES = "/v2/email/identities"
_SETS = "/v2/email/configuration-sets"
_SUPPRESSED = "/v2/email/suppression/addresses"
_TENANTS = "/v2/email/tenants"


class Operation(Struct, frozen=True):
    """One operation but SendEmail."""

    name: str
    method: str
    path: str
    run: Callable[[SESAccount, Fields, str], dict[str, object]]
    """Takes the fields of a request and the name in its path, which is empty without one."""


OPERATIONS: tuple[Operation, ...] = (
    Operation("CreateEmailIdentity", "POST", _IDENTITIES, ses_identities.create_identity),
    Operation("GetEmailIdentity", "GET", f"{_IDENTITIES}/{{name}}", ses_identities.get_identity),
    Operation(
        "DeleteEmailIdentity", "DELETE", f"{_IDENTITIES}/{{name}}", ses_identities.delete_identity
    ),
    Operation(
        "PutEmailIdentityDkimSigningAttributes",
        "PUT",
        # It is v1 in the model.
        "/v1/email/identities/{name}/dkim/signing",
        ses_identities.put_signing_attributes,
    ),
    Operation("CreateConfigurationSet", "POST", _SETS, ses_resources.create_configuration_set),
    Operation(
        "GetConfigurationSet", "GET", f"{_SETS}/{{name}}", ses_resources.get_configuration_set
    ),
    Operation(
        "DeleteConfigurationSet",
        "DELETE",
        f"{_SETS}/{{name}}",
        ses_resources.delete_configuration_set,
    ),
    Operation(
        "CreateConfigurationSetEventDestination",
        "POST",
        f"{_SETS}/{{name}}/event-destinations",
        ses_resources.create_event_destination,
    ),
    Operation(
        "GetConfigurationSetEventDestinations",
        "GET",
        f"{_SETS}/{{name}}/event-destinations",
        ses_resources.list_event_destinations,
    ),
    Operation("PutSuppressedDestination", "PUT", _SUPPRESSED, ses_resources.put_suppression),
    Operation(
        "GetSuppressedDestination", "GET", f"{_SUPPRESSED}/{{name}}", ses_resources.get_suppression
    ),
    Operation(
        "DeleteSuppressedDestination",
        "DELETE",
        f"{_SUPPRESSED}/{{name}}",
        ses_resources.delete_suppression,
    ),
    Operation("ListSuppressedDestinations", "GET", _SUPPRESSED, ses_resources.list_suppressions),
    Operation("GetAccount", "GET", "/v2/email/account", ses_resources.get_account),
    Operation("TagResource", "POST", "/v2/email/tags", ses_resources.tag_resource),
    Operation("CreateTenant", "POST", _TENANTS, ses_tenants.create_tenant),
    Operation("GetTenant", "POST", f"{_TENANTS}/get", ses_tenants.get_tenant),
    Operation(
        "CreateTenantResourceAssociation", "POST", f"{_TENANTS}/resources", ses_tenants.associate
    ),
    Operation(
        "DeleteTenantResourceAssociation",
        "POST",
        f"{_TENANTS}/resources/delete",
        ses_tenants.disassociate,
    ),
    Operation(
        "ListTenantResources", "POST", f"{_TENANTS}/resources/list", ses_tenants.list_resources
    ),
)
