"""Runs the examples of a document, each by itself, as `python -m asyncio` would."""

import ast
import inspect
import re
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).resolve().parents[2]

_PART = re.compile(r"^## +(?P<heading>.+?) *$|^```python\n(?P<code>.*?)^```$", re.M | re.S)


class Example(Struct, frozen=True):
    """One block of code and where it stands."""

    name: str
    """The heading above it, and its number below that."""
    code: str
    needs_redis: bool


def list_examples(document: str) -> list[Example]:
    """The Python blocks of a document, named by its path from the root."""
    examples: list[Example] = []
    heading, number = "", 0
    for part in _PART.finditer((ROOT / document).read_text(encoding="utf-8")):
        if part["heading"] is not None:
            heading, number = part["heading"], 0
            continue
        number += 1
        examples.append(Example(f"{heading} {number}", part["code"], "redis_url" in part["code"]))
    return examples


async def run_example(example: Example, **names: object) -> None:
    """Run one block; names are what it may use without importing it."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(example.code, f"<{example.name}>", "exec", flags=flags)
    ending = eval(code, {"__name__": "example", **names})  # noqa: S307  # Of our own documents.
    if inspect.iscoroutine(ending):
        await ending
