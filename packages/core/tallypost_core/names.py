"""Names that people give to things."""

import unicodedata


def tidy_name(text: str, max_chars: int) -> str | None:
    """The name with single spaces between its words; None where it is empty, too long or hides
    something.

    Control, format and unassigned characters, and halves of a pair, hide what a name says.
    """
    name = " ".join(text.split())
    hidden = any(unicodedata.category(character).startswith("C") for character in name)
    return name if 1 <= len(name) <= max_chars and not hidden else None
