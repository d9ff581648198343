"""How sampled stacks become a table."""

from bench.profile import top

STACKS = """\
main (app.py:3);send (smtp.py:10) 4
main (app.py:3);send (smtp.py:12) 2
main (app.py:9);sign (dkim.py:7);sign (dkim.py:7) 3
main (app.py:9) 1
"""


def test_time_of_a_function_itself_is_that_of_stacks_that_end_in_it() -> None:
    own, _ = top(STACKS)
    assert own == {"send (smtp.py)": 6, "sign (dkim.py)": 3, "main (app.py)": 1}


def test_a_function_that_calls_itself_is_counted_once_in_a_stack() -> None:
    _, inclusive = top(STACKS)
    assert inclusive == {"main (app.py)": 10, "send (smtp.py)": 6, "sign (dkim.py)": 3}


def test_every_sample_is_counted_once() -> None:
    own, _ = top(STACKS)
    assert sum(own.values()) == 10
