"""The page about the kit shows code that runs."""

import pytest

from tests.support.examples import Example, list_examples, run_example

PAGE = "docs/resilience.md"
PARTS = ["Deadline", "Retry", "Breaker", "Limiter", "Bulkhead", "Idempotency", "Egress"]


def test_every_part_has_an_example() -> None:
    headings = {example.name.rpartition(" ")[0] for example in list_examples(PAGE)}
    assert headings == set(PARTS)


@pytest.mark.parametrize(
    "example",
    [example for example in list_examples(PAGE) if not example.needs_redis],
    ids=lambda example: example.name,
)
async def test_example_runs(example: Example) -> None:
    await run_example(example)
