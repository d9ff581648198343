"""What whoever keeps a simulator's messages raises in the place of keeping one.

Anything else that they raise means: not kept now.
"""


class MessageRefused(Exception):
    """A message will never be taken; the text, ASCII on one line, is what the client hears."""


class OutcomeUnknown(Exception):
    """A message may have been kept or not, so that no reply would be true."""
