"""Whether the settings of an SES account can be used, and whom they lead to."""

import re
from urllib.parse import urlsplit

from tallypost_core.settings.providers import SESSettings
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.hosts import is_loopback

REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}")
"""What a Region is called."""

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""ConfigurationSetName and TenantName (API_SendEmail)."""

_PORTS = {"https": 443, "http": 80}


def require_usable(settings: SESSettings) -> None:
    """Raise ProviderMisconfigured, which names the variable, for what cannot work."""
    _require_region(settings)
    _require_credentials(settings)
    _require_names(settings)
    _require_endpoint(settings)


def address_of(settings: SESSettings) -> tuple[str, int]:
    """Host and port of the API; the settings must be usable."""
    if settings.endpoint is None:
        return f"email.{settings.region}.amazonaws.com", 443
    address = urlsplit(settings.endpoint)
    return address.hostname or "", address.port or _PORTS.get(address.scheme, 443)


def _require_region(settings: SESSettings) -> None:
    if settings.region is None:
        raise ProviderMisconfigured("TALLYPOST_SES_REGION is missing.")
    if not REGION.fullmatch(settings.region):
        raise ProviderMisconfigured("TALLYPOST_SES_REGION is no Region, such as eu-west-1.")


def _require_credentials(settings: SESSettings) -> None:
    if settings.access_key_id is not None and settings.secret_access_key is None:
        raise ProviderMisconfigured(
            "TALLYPOST_SES_ACCESS_KEY_ID is set, TALLYPOST_SES_SECRET_ACCESS_KEY is missing."
        )
    if settings.secret_access_key is not None and settings.access_key_id is None:
        raise ProviderMisconfigured(
            "TALLYPOST_SES_SECRET_ACCESS_KEY is set, TALLYPOST_SES_ACCESS_KEY_ID is missing."
        )


def _require_names(settings: SESSettings) -> None:
    for variable, value in (
        ("TALLYPOST_SES_CONFIGURATION_SET", settings.configuration_set),
        ("TALLYPOST_SES_TENANT_NAME", settings.tenant_name),
    ):
        if value is not None and not NAME.fullmatch(value):
            raise ProviderMisconfigured(
                f"{variable} is 1 to 64 letters, digits, underscores and dashes."
            )


def _require_endpoint(settings: SESSettings) -> None:
    if settings.endpoint is None:
        return
    address = urlsplit(settings.endpoint)
    if address.scheme not in {"http", "https"} or not address.hostname or "@" in address.netloc:
        raise ProviderMisconfigured("TALLYPOST_SES_ENDPOINT is no address of a server.")
    if address.scheme == "http" and not is_loopback(address.hostname):
        raise ProviderMisconfigured(
            "TALLYPOST_SES_ENDPOINT starts with http: mail would travel in plain text."
        )
