"""The state of one AWS account at SES in one Region, and the knobs that tests turn."""

import datetime as dt
import itertools
import uuid
from collections import deque
from collections.abc import Callable

from msgspec import Struct, field

from tallypost_simulators.ses_errors import SESError

ACCESS_KEY_ID = "AKIASIMULATEDEXAMPLE"
SECRET_ACCESS_KEY = "simulated/secret/access/key/EXAMPLE"  # noqa: S105 -- opens nothing.
ACCOUNT_ID = "123456789012"
REGION = "eu-west-1"

_PAUSED = (
    "Sending paused for this account. For more information, please check the inbox of the email "
    "address associated with your AWS account."
)


class Identity(Struct, kw_only=True):
    """A domain or an address that one may send from once it is verified."""

    name: str
    is_verified: bool = False
    is_signed: bool = False
    """SES has found the record of the key that signs."""
    tags: list[dict[str, str]] = []
    origin: str = "AWS_SES"
    """EXTERNAL where the owner gave a key, AWS_SES where SES made one."""
    tokens: list[str] = []
    """The owner's selector, or the three names of Easy DKIM."""
    private_key: str | None = None
    configuration_set: str | None = None


class EventDestination(Struct, kw_only=True):
    """Where the events of a configuration set go."""

    name: str
    topic_arn: str
    event_types: list[str]
    is_enabled: bool = True


class ConfigurationSet(Struct, kw_only=True):
    """A name under which messages are sent and events reported."""

    name: str
    tags: list[dict[str, str]] = []
    is_sending_enabled: bool = True
    destinations: dict[str, EventDestination] = field(default_factory=dict)


class Tenant(Struct, kw_only=True):
    """A part of the account with a reputation of its own."""

    name: str
    id: str
    created_at: dt.datetime
    tags: list[dict[str, str]] = []
    resources: set[str] = field(default_factory=set)
    """ARNs of the identities and configuration sets that it may send by."""


class Suppression(Struct, kw_only=True):
    """An address that SES takes and does not deliver to."""

    reason: str
    updated_at: dt.datetime


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class SESAccount:
    """What the account has, and how SES thinks of it; everything may be changed while it runs."""

    def __init__(self, region: str = REGION, now: Callable[[], dt.datetime] = _now) -> None:
        """now is the clock of AWS, by which signatures and quotas are judged."""
        self.region = region
        self.account_id = ACCOUNT_ID
        self.now = now
        self.secrets = {ACCESS_KEY_ID: SECRET_ACCESS_KEY}
        """Access keys by id; an empty one revokes them all."""
        self.is_token_expired = False
        self.denied: set[str] = set()
        """Names of operations that the key's policy forbids, such as `SendEmail`."""
        self.is_paused = False
        self.is_suspended = False
        self.is_under_review = False
        """AWS looks into how the account sends; it goes on sending meanwhile."""
        self.is_in_sandbox = False
        self.max_24_hour_send = 50_000.0
        """-1 is no quota, as in AWS's SendQuota."""
        self.max_send_rate = 14_000.0
        self.tenants: dict[str, Tenant] = {}
        self.identities: dict[str, Identity] = {}
        self.configuration_sets: dict[str, ConfigurationSet] = {}
        self.suppressed: dict[str, Suppression] = {}
        self._sent_at: deque[dt.datetime] = deque()

    def add_domain(self, name: str, *, is_verified: bool = True) -> Identity:
        """An identity of the account, made beforehand."""
        identity = Identity(name=name, is_verified=is_verified, is_signed=is_verified)
        self.identities[name.lower()] = identity
        return identity

    def add_tenant(self, name: str) -> Tenant:
        """A tenant of the account, with nothing to send by."""
        tenant = Tenant(name=name, id=f"tn-{uuid.uuid4().hex[:30]}", created_at=self.now())
        self.tenants[name] = tenant
        return tenant

    def arn(self, resource: str) -> str:
        """The ARN of a resource, such as `identity/example.com`."""
        return f"arn:aws:ses:{self.region}:{self.account_id}:{resource}"

    def verify(self, name: str) -> None:
        """As when SES has found the records of an identity in the DNS."""
        identity = self.identities[name.lower()]
        identity.is_verified = identity.is_signed = True

    def is_verified(self, address: str) -> bool:
        """True where an address, its domain or a domain above that is verified."""
        return any(identity.is_verified for identity in self.identities_of(address))

    def identities_of(self, address: str) -> list[Identity]:
        """Those that an address may be sent from by, its own first."""
        address = address.lower()
        labels = address.rpartition("@")[2].split(".")
        names = [address, *(".".join(labels[place:]) for place in range(len(labels) - 1))]
        return [self.identities[name] for name in names if name in self.identities]

    def require_allowed(self, operation: str) -> None:
        """Raise SESError where the credentials do not reach for this operation."""
        if self.is_token_expired:
            message = "The security token included in the request is expired"
            raise SESError(403, "ExpiredTokenException", message)
        if operation in self.denied:
            user = f"arn:aws:iam::{self.account_id}:user/simulated"
            message = f"User: {user} is not authorized to perform: ses:{operation}"
            raise SESError(403, "AccessDeniedException", message)

    def require_sending(self) -> None:
        """Raise SESError where the account may not send at all."""
        if self.is_suspended:
            message = "The account's ability to send email has been permanently restricted."
            raise SESError(400, "AccountSuspendedException", message)
        if self.is_paused:
            raise SESError(400, "SendingPausedException", _PAUSED)

    def count_sent(self) -> int:
        """Recipients of the last 24 hours."""
        self._forget_old()
        return len(self._sent_at)

    def spend_quota(self, recipients: int) -> None:
        """Count recipients as sent to; raise SESError where they are too many or too fast."""
        self._forget_old()
        now = self.now()
        if 0 <= self.max_24_hour_send < len(self._sent_at) + recipients:
            raise SESError(400, "ThrottlingException", "Daily message quota exceeded.")
        since = now - dt.timedelta(seconds=1)
        newest_first = reversed(self._sent_at)
        recent = sum(1 for _ in itertools.takewhile(lambda sent_at: sent_at > since, newest_first))
        # A message may have more recipients than the rate allows: it is the next one that waits.
        if recent >= self.max_send_rate:
            raise SESError(429, "TooManyRequestsException", "Maximum sending rate exceeded.")
        self._sent_at.extend([now] * recipients)

    def _forget_old(self) -> None:
        since = self.now() - dt.timedelta(hours=24)
        while self._sent_at and self._sent_at[0] <= since:
            self._sent_at.popleft()
