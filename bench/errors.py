"""Why a line has no number."""


class Absent(Exception):
    """Something to compare with is not on this machine; the text says what and why."""


class Failed(Exception):
    """The product, or what drives it, did not do what was asked of it; the text says what."""


def brief(error: Exception) -> str:
    """An error on one line: what broke, and the last that its log said."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ... ".join(dict.fromkeys([*lines[:1], *lines[-1:]])) or type(error).__name__
