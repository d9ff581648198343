"""Makes up the emails that the demo sends: sample data, marked as such in subject, tag and header.

Recipients are at names that are reserved for examples (RFC 2606), each number once, so that an
address that was refused does not meet its own past.
"""

import base64
import itertools
import random
from collections.abc import Sequence

from msgspec import Struct

from tallypost_cli.sample_access import SampleAccess

_NAMES = ("ada", "alan", "barbara", "edsger", "frances", "grace", "john", "katherine", "tim")
_DOMAINS = ("example.com", "example.net", "example.org")
_ATTACHED_SHARE = 0.1
_HTML_SHARE = 0.5
_MARK = {"X-Sample-Data": "yes"}


class Tag(Struct, frozen=True):
    """A tag as the API takes it."""

    name: str
    value: str


class Attachment(Struct, frozen=True):
    """An attachment as the API takes it; content is base64."""

    filename: str
    content: str
    content_type: str


class SampleEmail(Struct, frozen=True, omit_defaults=True, rename={"sender": "from"}):
    """An email as the API takes it."""

    sender: str
    to: list[str]
    subject: str
    text: str
    headers: dict[str, str]
    tags: list[Tag]
    html: str = ""
    attachments: tuple[Attachment, ...] = ()


class Account(Struct, frozen=True):
    """A key and an address that it may send from; weight is its part of the traffic."""

    key: str
    sender: str
    weight: int


class _Kind(Struct, frozen=True):
    name: str
    subject: str
    text: str


_KINDS = (
    _Kind("receipt", "Your receipt no. {number}", "Thank you for your order no. {number}."),
    _Kind("sign-in", "Your sign-in code", "Your code is {number:06d}. It is valid for 10 minutes."),
    _Kind("shipping", "Order {number} is on its way", "Order {number} left our warehouse today."),
    _Kind("invitation", "You are invited to a project", "Project {number} would like you to join."),
    _Kind("report", "Weekly report {number}", "All {number} checks passed in the last week."),
    _Kind("welcome", "Welcome, {name}", "Good to have you here, {name}."),
)


def list_accounts(access: SampleAccess) -> list[Account]:
    """Both sample tenants in live mode, and the first in test mode; mostly the first, live."""
    first, second = access.first, access.second
    return [
        Account(first.live_key, first.sender, 70),
        Account(second.live_key, second.sender, 20),
        Account(first.test_key, first.sender, 10),
    ]


class SampleWriter:
    """Writes one sample email after another."""

    def __init__(self, accounts: Sequence[Account]) -> None:
        self._accounts = accounts
        self._weights = [account.weight for account in accounts]
        self._numbers = itertools.count(1)
        self._random = random.Random()  # noqa: S311 -- decides about sample data, not secrets.

    def choose_account(self) -> Account:
        """One of the accounts, by their weights."""
        return self._random.choices(self._accounts, self._weights)[0]

    def write(self, account: Account) -> SampleEmail:
        """The next email from an account."""
        number = next(self._numbers)
        name = self._random.choice(_NAMES)
        kind = self._random.choice(_KINDS)
        text = kind.text.format(number=number, name=name.title())
        has_html = self._random.random() < _HTML_SHARE
        is_attached = self._random.random() < _ATTACHED_SHARE
        return SampleEmail(
            sender=account.sender,
            to=[f"{name}.{number}@{self._random.choice(_DOMAINS)}"],
            subject=f"[Sample] {kind.subject.format(number=number, name=name.title())}",
            text=f"{text}\n\nThis is sample data.\n",
            headers=_MARK,
            tags=[Tag("sample", "yes"), Tag("kind", kind.name)],
            html=f"<p>{text}</p><p><small>This is sample data.</small></p>" if has_html else "",
            attachments=(_attachment(number),) if is_attached else (),
        )


def _attachment(number: int) -> Attachment:
    content = f"item,amount\nsample {number},1\n".encode()
    return Attachment(f"sample-{number}.csv", base64.b64encode(content).decode(), "text/csv")
