"""Which events a process may begin: those of all subscribers at a time, or one alone."""

from collections.abc import Callable


class Places:
    """What the subscribers of a process have under way, and who is to have it to itself.

    A crash takes along all that is under way. So an event that may have brought one about is fed
    while nothing else is, of whichever subscriber: what is lost then was lost by it. An event whose
    time is over holds no place any more; others would wait for it for good.
    """

    def __init__(self) -> None:
        self._taken = 0
        self._alone: object | None = None
        self._wakes: list[Callable[[], None]] = []

    def join(self, wake: Callable[[], None]) -> None:
        """Have wake called whenever who was refused may ask again."""
        self._wakes.append(wake)

    def enter(self, count: int) -> bool:
        """Take so many places; False while somebody is alone, or waits to be."""
        if self._alone is not None:
            return False
        self._taken += count
        return True

    def leave(self, count: int) -> None:
        """Give places back."""
        self._taken -= count
        if self._taken == 0 and self._alone is not None:
            self._wake()

    def enter_alone(self, who: object) -> bool:
        """Whether nothing is under way; from the first question on nobody else may enter.

        Until leave_alone, which has to come also after False.
        """
        if self._alone is None:
            self._alone = who
        return self._alone is who and self._taken == 0

    def leave_alone(self, who: object) -> None:
        """Let others enter again, if it was this one who kept them out."""
        if self._alone is who:
            self._alone = None
            self._wake()

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()
