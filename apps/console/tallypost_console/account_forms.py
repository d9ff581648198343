"""The form of a provider account: its fields as a page shows them, and what somebody gave."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from markupsafe import Markup
from msgspec import Struct

from tallypost_console.forms import Form
from tallypost_console.words import exact
from tallypost_core.errors import AppError
from tallypost_domain.routing.accounts import MAX_NAME_CHARS
from tallypost_domain.routing.types import AccountView
from tallypost_providers.tenant_accounts import Field, list_fields

PROVIDERS: Final[Mapping[str, tuple[str, str]]] = {
    "smtp": (
        "SMTP relay",
        "Any mail server that takes your mail with TLS: of a mail service, or one that you run.",
    ),
    "ses": ("Amazon SES", "Your own account at Amazon Web Services, by an access key."),
    "sendgrid": ("SendGrid", "Your own account or subuser at SendGrid, by an API key."),
}
"""What tenants may have accounts at: name and a line about each."""

Group = Literal["Connection", "Sign-in", "Options"]

# A setting of an account has the name of a tenant, or of our own field, in no release.
_PREFIX: Final = "settings-"
_GROUPS: Final[Mapping[str, Group]] = {
    "host": "Connection",
    "port": "Connection",
    "security": "Connection",
    "region": "Connection",
    "username": "Sign-in",
    "access_key_id": "Sign-in",
}
_ORDER: Final[tuple[Group, ...]] = ("Connection", "Sign-in", "Options")
_NOT_KEPT: Final = "Give it again: what you typed is not kept."


class ShownField(Struct, frozen=True, kw_only=True):
    """One setting in the form."""

    field: Field
    name: str
    """In the form."""
    value: str
    """Empty for what is secret, whatever is stored."""
    is_stored: bool
    """It is secret, and set."""
    error: str = ""

    @property
    def hint(self) -> str:
        """What to put there."""
        words = [self.field.description]
        # Beside an error it would read as the opposite.
        if self.is_stored and not self.error:
            words.append("It is set; leave this empty to keep it.")
            if self.field.name == "password":
                words.append("Empty the user name to remove both.")
        return " ".join(words)

    @property
    def is_required(self) -> bool:
        """Whether the form may not be sent without it."""
        return self.field.is_required and not self.is_stored

    @property
    def input_type(self) -> str:
        """As HTML calls it."""
        if self.field.is_secret:
            return "password"
        return "number" if self.field.kind in ("integer", "number") else "text"

    @property
    def attributes(self) -> Markup:
        """What a browser is to know of it besides."""
        field = self.field
        # Browsers that know the person's own password would fill it in where this says `off`.
        written = ' autocomplete="new-password"' if field.is_secret else ' autocomplete="off"'
        if self.is_required:
            written += " required"
        if field.kind in ("integer", "number"):
            step = "1" if field.kind == "integer" else "any"
            bounds = (("min", field.at_least), ("max", field.at_most))
            given = "".join(f' {name}="{value:g}"' for name, value in bounds if value is not None)
            return Markup(f'{written} step="{step}"{given}')  # noqa: S704 - numbers of ours
        if field.max_length is not None:
            written += f' maxlength="{field.max_length}"'
        return Markup(f'{written} autocapitalize="none" spellcheck="false"')  # noqa: S704 - ours

    @property
    def options(self) -> list[tuple[str, str]]:
        """Of a choice: values and what they are called."""
        return [(str(choice), str(choice)) for choice in self.field.choices]


class AccountForm(Struct, frozen=True, kw_only=True):
    """The form with what stands in it."""

    name: str
    name_error: str
    groups: list[tuple[Group, list[ShownField]]]
    problem: str
    """What is wrong with none of the fields."""
    max_name_chars: int = MAX_NAME_CHARS


def show_form(
    provider: str,
    *,
    account: AccountView | None = None,
    form: Form | None = None,
    error: AppError | None = None,
) -> AccountForm:
    """What was sent, or else what is stored, with what is wrong by the field that it is about."""
    words = _word(provider, error) if error else ""
    field = error.field if error else None
    shown = [_show(each, account, form, words, field) for each in list_fields(provider)]
    stored_name = account.name if account else ""
    is_placed = field == "name" or any(each.field.name == field for each in shown)
    return AccountForm(
        name=form.find("name") if form else stored_name,
        name_error=words if field == "name" else "",
        groups=[
            (group, found)
            for group in _ORDER
            if (found := [each for each in shown if _group_of(each.field) == group])
        ],
        problem="" if is_placed else words,
    )


def read_raw(
    provider: str, form: Form, stored: Mapping[str, object] | None = None
) -> dict[str, object]:
    """The settings that a form gives, as text; a box that is not ticked says no.

    Where the text is what the form showed of a stored setting, it is the stored value itself: the
    API takes numbers with more digits than a form does.
    """
    shown = {name: (_as_text(value), value) for name, value in (stored or {}).items()}
    raw: dict[str, object] = {}
    for field in list_fields(provider):
        given = _read(field, form)
        if given is not None:
            text, value = shown.get(field.name, ("", ""))
            raw[field.name] = value if given == text else given
    return raw


def list_settings(account: AccountView) -> Iterable[tuple[str, str]]:
    """Names and values of an account's settings; of a secret, whether it is set."""
    for field in list_fields(account.provider):
        if field.is_secret:
            yield field.label, "Set" if field.name in account.secret_names else "Not set"
        else:
            value = account.settings.get(field.name, field.default)
            yield field.label, _as_words(value)


def _word(provider: str, error: AppError) -> str:
    """What is wrong, with the labels of the form in place of the names of settings."""
    message = error.message
    for field in list_fields(provider):
        message = message.replace(f"`{field.name}`", f"“{field.label}”")
    return message


def _show(
    field: Field, account: AccountView | None, form: Form | None, words: str, wrong: str | None
) -> ShownField:
    stored: object = field.default
    is_stored = False
    if account is not None:
        stored = account.settings.get(field.name, field.default)
        is_stored = field.name in account.secret_names
    given = None if form is None else _read(field, form)
    is_lost = field.is_secret and bool(words) and bool(given and given.strip())
    if field.is_secret:
        value = ""
    elif given is not None:
        value = given
    else:
        value = "" if stored is None else _as_text(stored)
    return ShownField(
        field=field,
        name=_PREFIX + field.name,
        value=value,
        is_stored=is_stored,
        error=words if wrong == field.name else _NOT_KEPT if is_lost else "",
    )


def _read(field: Field, form: Form) -> str | None:
    values = form.list_values(_PREFIX + field.name)
    if field.kind == "boolean":
        return "on" if values else "off"
    return values[-1] if values else None


def _group_of(field: Field) -> Group:
    return "Sign-in" if field.is_secret else _GROUPS.get(field.name, "Options")


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return exact(value) if isinstance(value, float) else str(value)


def _as_words(value: object) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return "Not set" if value is None else _as_text(value)
