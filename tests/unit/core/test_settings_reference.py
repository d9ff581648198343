"""The settings page and the example file say what the code says."""

import base64
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from tallypost_core.settings import Secret, load_settings
from tallypost_core.settings.apps import APP_SETTINGS
from tallypost_core.settings.loader import list_variables
from tallypost_core.settings.reference import (
    ENV_EXAMPLE_PATH,
    REFERENCE_PATH,
    render_env_example,
    render_reference,
)

ROOT = Path(__file__).parents[3]
RING = f"sample:{base64.b64encode(bytes(32)).decode()}"


class MailGroup(Struct, frozen=True):
    """How mail goes out."""

    password: Annotated[Secret, Meta(description="The password.")]
    port: Annotated[int, Meta(ge=1, le=9, description="The port.")] = 2
    mode: Annotated[Literal["a", "b"], Meta(description="One | other.")] = "a"
    delays_s: Annotated[
        tuple[Annotated[float, Meta(gt=0)], ...], Meta(description="The delays.")
    ] = (1.5, 2.0)


class LocalMailGroup(Struct, frozen=True):
    """Never shown: the group's first description wins."""

    password: Annotated[Secret | None, Meta(description="The password. Unset, `up` makes one.")] = (
        None
    )


class SenderSettings(Struct, frozen=True):
    """A sample app."""

    mail: MailGroup
    names: Annotated[tuple[str, ...], Meta(description="The names.")] = ()


class LocalSettings(Struct, frozen=True):
    """Another sample app."""

    mail: LocalMailGroup


APPS: dict[str, type[Struct]] = {"sender": SenderSettings, "local": LocalSettings}


def row_of(name: str) -> str:
    (row,) = (line for line in render_reference(APPS).splitlines() if f"`{name}`" in line)
    return row


def test_committed_settings_page_is_up_to_date() -> None:
    assert (ROOT / REFERENCE_PATH).read_text(encoding="utf-8") == render_reference()


def test_committed_example_file_is_up_to_date() -> None:
    assert (ROOT / ENV_EXAMPLE_PATH).read_text(encoding="utf-8") == render_env_example()


def test_row_tells_type_bounds_default_and_reader() -> None:
    assert row_of("TALLYPOST_MAIL_PORT") == (
        "| `TALLYPOST_MAIL_PORT` | integer, 1 to 9 | `2` |  | sender | The port. |"
    )


def test_variable_of_two_apps_has_one_row_with_both_and_the_fuller_text() -> None:
    assert row_of("TALLYPOST_MAIL_PASSWORD") == (
        "| `TALLYPOST_MAIL_PASSWORD` or `TALLYPOST_MAIL_PASSWORD_FILE` | secret |  "
        "| sender | local | The password. Unset, `up` makes one. |"
    )


def test_cell_cannot_break_the_table() -> None:
    assert row_of("TALLYPOST_MAIL_MODE").endswith("| One \\| other. |")


def test_list_shows_what_its_items_may_be() -> None:
    assert "| list: number, more than 0 | `1.5,2` |" in row_of("TALLYPOST_MAIL_DELAYS_S")


def test_groups_come_with_their_meaning_and_the_rest_last() -> None:
    text = render_reference(APPS)
    assert "## `TALLYPOST_MAIL_*`\n\nHow mail goes out.\n" in text
    assert text.index("## `TALLYPOST_MAIL_*`") < text.index("## Others")


def test_every_variable_is_on_the_page_and_in_the_example() -> None:
    page, example = render_reference(), render_env_example()
    for struct in APP_SETTINGS.values():
        for variable in list_variables(struct):
            assert f"`{variable.name}`" in page
            assert f"{variable.name}=" in example


def test_example_leaves_required_variables_empty_and_comments_out_the_rest() -> None:
    lines = render_env_example(APPS).splitlines()
    assert "TALLYPOST_MAIL_PASSWORD=" in lines
    assert "# TALLYPOST_MAIL_PORT=2" in lines


@pytest.mark.parametrize("app", APP_SETTINGS)
def test_defaults_in_the_example_are_the_defaults_of_the_code(app: str) -> None:
    assignments = dict(
        line.removeprefix("# ").split("=", 1)
        for line in render_env_example().splitlines()
        if line.removeprefix("# ").startswith("TALLYPOST_") and "=" in line
    )
    struct = APP_SETTINGS[app]
    required = {variable.name: RING for variable in list_variables(struct) if variable.is_required}
    from_example = load_settings(struct, assignments | required, tuple(APP_SETTINGS.values()))
    assert from_example == load_settings(struct, required, tuple(APP_SETTINGS.values()))
