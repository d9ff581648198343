"""Writes the page about errors from the tables that answer them.

`make openapi` writes it, by `python -m tallypost_api.error_docs FILE`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tallypost_api.error_table import ROWS
from tallypost_api.problem_table import ROWS as PROBLEM_ROWS
from tallypost_core.errors import first_line

_HEAD = """\
# Errors

This page is made from the code by `make openapi`; a test compares the two.

There are two forms. The routes of Resend's API answer as the original does. [Routes of our
own](api.md#routes-of-our-own) answer with problems as in RFC 9457. The header `x-request-id` of
every answer leads an operator to what happened.

## Routes of Resend's API

Each error has this form, and the status of the answer equals `statusCode`. So has a path that no
route has:

```json
{"statusCode": 422, "name": "validation_error", "message": "…"}
```

Decide by `statusCode` and `name`; `message` is for people, names the field where one is to blame,
and may change. `retry-after`, in seconds, comes with each answer that a repeat can mend.

"""

_OWN_HEAD = """
## Problems

Each error of a route of our own is `application/problem+json`, and the status of the answer equals
`status`:

```json
{
  "type": "/errors.md#wrong_type",
  "title": "A field has a value of the wrong type.",
  "status": 422,
  "code": "wrong_type",
  "detail": "The `as` field is wrong: …",
  "field": "as",
  "request_id": "…"
}
```

Decide by `status` and `code`. `type` is a relative reference: the API serves this page at
`/errors.md`, and each code has a heading below. `detail` is for people and may change; `field` is
there where a field or a parameter is to blame. 503 comes with `retry-after`, in seconds, and so
does 429; 401 with `www-authenticate`, 405 with `allow`.

"""


def render() -> str:
    """The page as Markdown."""
    contract = _HEAD + "\n".join(_table()) + "\n"
    return contract + _OWN_HEAD + "\n".join(_problems()) + "\n"


def _table() -> Iterator[str]:
    yield "| Status | `name` | Meaning | What to do |"
    yield "|---|---|---|---|"
    for row in ROWS:
        meaning = first_line(row.error.__doc__)
        yield f"| {row.status} | `{row.name}` | {meaning} | {row.advice} |"


def _problems() -> Iterator[str]:
    for number, row in enumerate(PROBLEM_ROWS):
        if number:
            yield ""
        yield f"### {row.error.code}"
        yield ""
        yield f"{row.status}. {row.title} What to do: {row.advice}."


def main(arguments: list[str]) -> None:
    """Write the page to the file that arguments names."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m tallypost_api.error_docs FILE")
    Path(arguments[0]).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
