"""Other mail first, and of five turns one for bulk mail that waits."""

from tallypost_providers.bulk_turns import BulkTurns


def turns(of: str, *, given: BulkTurns | None = None) -> str:
    """Who gets each turn: where both wait (`w`), where bulk mail may not go (`c`), where only other
    mail waits (`u`), only bulk mail (`b`), or nobody (`-`)."""
    line = given or BulkTurns()
    taken = ""
    for waiting in of:
        is_bulk = line.is_next_bulk(
            do_others_wait=waiting in "wcu",
            does_bulk_wait=waiting in "wcb",
            may_bulk_go=waiting != "c",
        )
        taken += "b" if is_bulk else "u" if waiting in "wcu" else "-"
    return taken


def test_one_of_five_is_bulk_while_both_wait() -> None:
    assert turns("w" * 12) == "uuuubuuuubuu"


def test_whoever_waits_alone_goes() -> None:
    assert turns("bbuuub-b") == "bbuuub-b"


def test_bulk_mail_that_has_just_come_has_no_turn_saved_up() -> None:
    assert turns("uuuuuuwwwww") == "uuuuuuuuuub"


def test_turn_that_bulk_mail_could_not_take_is_its_next_one() -> None:
    assert turns("wwccccw") == "uuuuuub"
    assert turns("wcwcw") == "uuuub"
    assert turns("cccccc") == "uuuuuu"


def test_nobody_goes_where_only_bulk_mail_waits_that_may_not() -> None:
    line = BulkTurns()
    for _ in range(3):
        assert not line.is_next_bulk(do_others_wait=False, does_bulk_wait=True, may_bulk_go=False)
    # None of these was a turn of other mail.
    assert turns("wwwww", given=line) == "uuuub"
