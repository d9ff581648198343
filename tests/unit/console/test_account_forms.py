"""What somebody types into the form of a provider account is what is stored."""

import pytest

from tallypost_console.account_forms import read_raw, show_form
from tallypost_console.forms import Form
from tallypost_providers.errors import InvalidAccountSettings
from tallypost_providers.tenant_accounts import read_settings


def test_blanks_at_the_ends_of_a_password_are_a_part_of_it_and_of_nothing_else() -> None:
    form = Form(
        [
            ("settings-host", " smtp.example.com "),
            ("settings-username", " ada "),
            ("settings-password", "  p w "),
        ]
    )
    read = read_settings("smtp", read_raw("smtp", form))
    assert read.secret == {"password": "  p w "}
    assert (read.plain["host"], read.plain["username"]) == ("smtp.example.com", "ada")


def test_field_that_is_wrong_goes_by_its_plain_name_in_a_form() -> None:
    form = Form([("settings-host", "smtp.example.com"), ("settings-port", "465")])
    with pytest.raises(InvalidAccountSettings) as refused:
        read_settings("smtp", read_raw("smtp", form))
    shown = show_form("smtp", form=form, error=refused.value)
    (wrong,) = (each for _, fields in shown.groups for each in fields if each.error)
    assert wrong.field.name == "security"
    assert wrong.error == "The “Encryption” field must be tls with port 465."
