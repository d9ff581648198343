"""The mode that a form is about."""

from tallypost_console.errors import MalformedForm
from tallypost_console.forms import Form
from tallypost_providers.types import Mode


def read_mode(form: Form) -> Mode:
    """The field `mode`. Raises MalformedForm for anything but the two modes."""
    mode = form.require("mode")
    if mode == "live":
        return "live"
    if mode == "test":
        return "test"
    raise MalformedForm(field="mode")
