"""Whose turn it is where bulk mail and other mail wait for the same thing."""

_ONE_IN = 5


class BulkTurns:
    """Other mail goes first, and bulk mail gets one turn in five for as long as it waits."""

    def __init__(self) -> None:
        self._passed_by = 0

    def is_next_bulk(
        self, *, do_others_wait: bool, does_bulk_wait: bool, may_bulk_go: bool = True
    ) -> bool:
        """Give the next turn away; False where it is for other mail, or nobody may go.

        While bulk mail waits, each turn of other mail counts, also where bulk mail may not go.
        """
        is_its_turn = self._passed_by >= _ONE_IN - 1 or not do_others_wait
        if does_bulk_wait and may_bulk_go and is_its_turn:
            self._passed_by = 0
            return True
        if not does_bulk_wait:
            self._passed_by = 0
        elif do_others_wait:
            self._passed_by += 1
        return False
