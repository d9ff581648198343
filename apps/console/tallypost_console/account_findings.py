"""What is known of a tenant's provider account, in words: its last check, and its domains."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct

from tallypost_console.words import NEUTRAL
from tallypost_domain.domains.service import SendingDomain
from tallypost_domain.routing.standings import is_own, leave_out_former
from tallypost_domain.routing.types import AccountView, StandingView, StepState
from tallypost_providers.provider_domains import KNOWS_DOMAINS

STEP_STATES: Final[Mapping[StepState, tuple[str, str]]] = {
    "good": ("success", "Good"),
    "warning": ("warning", "Warning"),
    "failed": ("danger", "Failed"),
    "not_tried": (NEUTRAL, "Not tried"),
}
"""Tone and word of each state of a step."""

_STANDINGS: Final[Mapping[str, tuple[str, str]]] = {
    "verified": ("success", "Verified"),
    "unverified": ("danger", "Not verified"),
    "unknown": ("warning", "No answer"),
}
_WRITERS: Final = "An owner, an admin or a developer"


class Finding(Struct, frozen=True):
    """What a check found, or that there is none yet."""

    tone: str
    label: str
    cause: str
    next_step: str


class DomainFinding(Struct, frozen=True):
    """A sending domain at an account."""

    domain: str
    tone: str
    label: str
    standing: StandingView | None
    """None where nobody has asked yet."""

    @property
    def is_unverified(self) -> bool:
        """Whether no mail from it goes by the account."""
        return self.standing is not None and self.standing.status == "unverified"

    @property
    def lacks_records(self) -> bool:
        """Whether the provider still wants to see something in the DNS."""
        return self.standing is not None and any(
            not record.is_found for record in self.standing.records
        )


class StandingMark(Struct, frozen=True):
    """Accounts at which a domain stands alike."""

    tone: str
    label: str
    accounts: tuple[str, ...]


class PlatformDomain(Struct, frozen=True):
    """A sending domain at the platform's accounts."""

    name: str
    findings: tuple[tuple[str, DomainFinding], ...]
    """By the names of the accounts."""

    @property
    def marks(self) -> tuple[StandingMark, ...]:
        """How it stands in a line."""
        alike: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for account, finding in self.findings:
            alike[finding.tone, finding.label].append(account)
        return tuple(
            StandingMark(tone, label, tuple(accounts)) for (tone, label), accounts in alike.items()
        )

    @property
    def told(self) -> tuple[tuple[str, DomainFinding], ...]:
        """Accounts that were asked and have not verified it."""
        return tuple(
            (account, finding)
            for account, finding in self.findings
            if finding.standing is not None and finding.standing.status != "verified"
        )

    @property
    def is_refused(self) -> bool:
        """Whether no mail from it goes by some account."""
        return any(finding.is_unverified for _, finding in self.told)


def describe_check(account: AccountView, *, may_write: bool = False) -> Finding:
    """What the last check of an account says, and what to do about it.

    may_write tells whether whoever reads it can mend the account and have it checked.
    """
    if account.is_being_checked:
        label = "Being checked" if account.checked_at is None else "Being checked again"
        return Finding(
            "info",
            label,
            "A worker tries the account, and sends nothing.",
            "This takes moments, and shows here by itself.",
        )
    states = {step.state: step.name for step in reversed(account.check_steps)}
    if "failed" in states:
        return Finding(
            "danger",
            "Does not work",
            f"The check came to “{states['failed']}” and failed there.",
            "Mend what the words below name, then check again."
            if may_write
            else f"{_WRITERS} mends what the words below name, and has it checked again.",
        )
    if "warning" in states:
        return Finding(
            "warning",
            "Works, with a warning",
            f"Mail can go, but something is to be known about “{states['warning']}”.",
            "Read the words below.",
        )
    if account.check_steps:
        return Finding("success", "Works", "Every step went well.", "Nothing is left to do.")
    return Finding(
        NEUTRAL,
        "Not checked",
        "Nobody has tried the account yet.",
        "Check it now." if may_write else f"{_WRITERS} has it checked.",
    )


def list_domain_findings(
    account: AccountView, domains: Iterable[SendingDomain], standings: Iterable[StandingView]
) -> tuple[DomainFinding, ...]:
    """How each verified domain stands at an account whose provider has to know it."""
    if account.provider not in KNOWS_DOMAINS:
        return ()
    known = {each.domain_id: each for each in standings if each.account == str(account.id)}
    return tuple(
        _find(domain.name, known.get(domain.id)) for domain in domains if domain.is_verified
    )


def list_platform_domains(
    domains: Iterable[SendingDomain],
    standings: Iterable[StandingView],
    platform: Collection[str],
) -> tuple[PlatformDomain, ...]:
    """How each verified domain stands at those of the platform's accounts that have to know it.

    Those that want something done come first. platform names the accounts that are there now.
    """
    known = {
        (each.domain_id, each.account): each
        for each in leave_out_former(standings, platform)
        if not is_own(each)
    }
    accounts = sorted({account for _, account in known})
    if not accounts:
        return ()
    found = [
        PlatformDomain(
            domain.name,
            tuple(
                (account, _find(domain.name, known.get((domain.id, account))))
                for account in accounts
            ),
        )
        for domain in domains
        if domain.is_verified
    ]
    return tuple(sorted(found, key=lambda domain: not domain.told))


def sum_up(findings: Sequence[DomainFinding]) -> str:
    """All findings of an account in a few words; empty where no domain is asked about."""
    if not findings:
        return ""
    verified = sum(finding.label == _STANDINGS["verified"][1] for finding in findings)
    return f"{verified:,} of {len(findings):,} verified"


def list_unverified(standings: Iterable[StandingView]) -> frozenset[tuple[str, UUID]]:
    """Accounts and domains that must not be sent from there."""
    return frozenset(
        (each.account, each.domain_id) for each in standings if each.status == "unverified"
    )


def _find(domain: str, standing: StandingView | None) -> DomainFinding:
    if standing is None or standing.checked_at is None:
        return DomainFinding(domain, NEUTRAL, "Not asked yet", None)
    return DomainFinding(domain, *_STANDINGS[standing.status], standing)
