"""The last things that happened in the demo, for its panel."""

from collections import deque

from tallypost_cli.demo.state import Action
from tallypost_core.clock import utc_now

_KEPT = 20


class Journal:
    """Keeps the newest twenty notes."""

    def __init__(self) -> None:
        self._actions: deque[Action] = deque(maxlen=_KEPT)

    def note(self, text: str) -> None:
        """Add one sentence; it holds no address, subject or key."""
        self._actions.appendleft(Action(utc_now(), text))

    def list_newest(self) -> list[Action]:
        """The notes, newest first."""
        return list(self._actions)
