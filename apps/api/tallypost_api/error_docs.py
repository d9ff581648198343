"""Writes the page about errors from the table that answers them.

`make openapi` writes it, by `python -m tallypost_api.error_docs FILE`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tallypost_api.error_table import ROWS
from tallypost_core.errors import first_line

_HEAD = """\
# Errors

This page is made from the code by `make openapi`; a test compares the two.

Each error of the API has this form, and the status of the answer equals `statusCode`:

```json
{"statusCode": 422, "name": "validation_error", "message": "…"}
```

Decide by `statusCode` and `name`; `message` is for people, names the field where one is to blame,
and may change. `retry-after`, in seconds, comes with each answer that a repeat can mend. The header
`x-request-id` of every answer leads an operator to what happened.

"""


def render() -> str:
    """The page as Markdown."""
    return _HEAD + "\n".join(_table()) + "\n"


def _table() -> Iterator[str]:
    yield "| Status | `name` | Meaning | What to do |"
    yield "|---|---|---|---|"
    for row in ROWS:
        meaning = first_line(row.error.__doc__)
        yield f"| {row.status} | `{row.name}` | {meaning} | {row.advice} |"


def main(arguments: list[str]) -> None:
    """Write the page to the file that arguments names."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m tallypost_api.error_docs FILE")
    Path(arguments[0]).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
