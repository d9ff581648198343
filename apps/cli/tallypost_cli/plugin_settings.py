"""Which variables a plugin has, and whether they are set; never with a value."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from tallypost_core.settings.loader import Variable, list_variables

State = Literal["set", "set by file", "unset", "missing"]


class Setting(Struct, frozen=True):
    """A variable of a plugin; its value is not here."""

    variable: str
    state: State
    description: str


def list_settings(
    struct: type[Struct], group: str, environ: Mapping[str, str]
) -> tuple[Setting, ...]:
    """The variables of a plugin's group, in the order of the Struct."""
    return tuple(
        Setting(variable.name, _find_state(variable, environ), variable.description)
        for variable in list_variables(struct, group)
    )


def _find_state(variable: Variable, environ: Mapping[str, str]) -> State:
    if environ.get(variable.name):
        return "set"
    if variable.is_secret and environ.get(f"{variable.name}_FILE"):
        return "set by file"
    return "missing" if variable.is_required else "unset"
