"""The page about the kit shows code that runs; here, what needs Redis."""

import pytest

from tests.support.examples import Example, list_examples, run_example


@pytest.mark.parametrize(
    "example",
    [example for example in list_examples("docs/resilience.md") if example.needs_redis],
    ids=lambda example: example.name,
)
async def test_example_runs(example: Example, redis_url: str) -> None:
    await run_example(example, redis_url=redis_url)
