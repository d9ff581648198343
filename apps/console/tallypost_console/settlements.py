"""What a form says about emails of which nobody knew whether they arrived."""

from tallypost_console.errors import MalformedForm
from tallypost_console.forms import Form
from tallypost_domain.queue.unconfirmed_decisions import SettledAs


def read_settled_as(form: Form) -> SettledAs:
    """The field `as`, of the button that was pressed. Raises MalformedForm for anything else."""
    try:
        return SettledAs(form.require("as"))
    except ValueError as error:
        raise MalformedForm(field="as") from error
