"""The longer texts of `explanations`."""

from collections.abc import Mapping
from typing import Final

from tallypost_domain.queue.unconfirmed import NextStep

AFTER_SILENCE: Final[Mapping[NextStep, str]] = {
    NextStep.LOOK_UP: "It waits to be looked up. Nothing is sent again before that.",
    NextStep.RESEND: "It is sent again by itself, as its stream says, and may arrive twice.",
    NextStep.AFTER_OTHERS: (
        "Its other recipients are sent to first. Then somebody has to decide about this: nothing "
        "is sent again by guess."
    ),
    NextStep.DECISION: "Ask the recipient before it is sent again, or it may arrive twice.",
}
"""What becomes of a recipient who may have the email."""

NOT_BUILT: Final[Mapping[str, tuple[str, str]]] = {
    "attachment_missing": (
        "It was given up: one of its attachments is not in the object store any more.",
        "Send a new one with the attachment; this one can go out only if the attachment returns.",
    ),
    "email_not_buildable": (
        "It was given up: something in it cannot be written as a message.",
        "Send a new one that is mended; put back into the queue, this one would fail again.",
    ),
    "envelope_not_kept": (
        "It was given up: some of its recipients are not to get it, and every provider here sends "
        "to all whom To and Cc name.",
        "Send a new one to each of the others, or put it back once there is another provider.",
    ),
    "signing_key_invalid": (
        "It was given up: the DKIM key of its sending domain cannot be read.",
        "Once an operator has mended the key, put it back into the queue.",
    ),
}
"""Cause and next step by reason, of emails that no provider was asked to take."""
