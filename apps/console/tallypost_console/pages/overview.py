"""The operators' overview: what waits, what is sent, and how well."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.response import Stream

from tallypost_console.access import OPT_KEY
from tallypost_console.rendering import AnyRequest, render, render_block
from tallypost_console.services import Services
from tallypost_console.streams import stream
from tallypost_console.visitors import Visitor
from tallypost_core.clock import utc_now
from tallypost_domain.db.sessions import system_session
from tallypost_domain.people.permissions import Permission
from tallypost_domain.queue.overview import SampleBucket, list_samples, measure_platform
from tallypost_providers.types import Outcome

WINDOW_S: Final = 180
BUCKET_S: Final = 1
TABLE_STEP_S: Final = 10

_TEMPLATE: Final = "overview.html"
_GOOD: Final = frozenset({Outcome.ACCEPTED})
_BAD: Final = frozenset({Outcome.REJECTED})
_REPEATED: Final = frozenset(Outcome) - _GOOD - _BAD


# Any, here and below: what the template shows.
@get("/overview", opt={OPT_KEY: Permission.PLATFORM_READ})
async def show_overview(request: AnyRequest, services: NamedDependency[Services]) -> Response[str]:
    """The numbers of the whole installation now."""
    return render(request, _TEMPLATE, **await measure(services))


@get("/overview/live", opt={OPT_KEY: Permission.PLATFORM_READ})
async def follow_overview(
    request: AnyRequest, services: NamedDependency[Services], visitor: NamedDependency[Visitor]
) -> Stream:
    """The numbers whenever they change. Raises TooManyStreams."""

    async def view() -> str:
        return render_block(_TEMPLATE, "numbers", **await measure(services))

    return stream(request, services, visitor, "/overview", view)


async def measure(services: Services) -> dict[str, Any]:
    """Numbers and the lines of the chart. Raises DatabaseUnavailable."""
    async with system_session(services.sessions) as session:
        numbers = await measure_platform(session)
        samples = await list_samples(session, since_s=WINDOW_S, bucket_s=BUCKET_S)
    now = utc_now()
    return {
        "numbers": numbers,
        "lines": [
            ("delivered", rates(samples, _GOOD, now)),
            ("waiting", rates(samples, _REPEATED, now)),
            ("bounced", rates(samples, _BAD, now)),
        ],
        "rows": rows_of_table(samples, now),
        "since": f"−{WINDOW_S // 60} min",
        "outcomes": [outcome.value for outcome in Outcome],
    }


def rates(
    samples: Sequence[SampleBucket], outcomes: frozenset[Outcome], now: dt.datetime
) -> list[float]:
    """Recipients a second of these outcomes, oldest first; 0 where nothing was handed over.

    The present bucket is left out, for it is not over.
    """
    counts = {
        int(sample.at.timestamp()): sum(sample.outcomes.get(outcome, 0) for outcome in outcomes)
        for sample in samples
    }
    newest = int(now.timestamp()) // BUCKET_S * BUCKET_S
    return [counts.get(at, 0) / BUCKET_S for at in range(newest - WINDOW_S, newest, BUCKET_S)]


def rows_of_table(samples: Sequence[SampleBucket], now: dt.datetime) -> list[tuple[str, ...]]:
    """The same as the lines, ten seconds in a row, the newest first: recipients by outcome."""
    lines = [rates(samples, outcomes, now) for outcomes in (_GOOD, _REPEATED, _BAD)]
    rows = []
    for end in range(WINDOW_S, 0, -TABLE_STEP_S):
        ago = f"{WINDOW_S - end} to {WINDOW_S - end + TABLE_STEP_S}"
        sums = (round(sum(line[end - TABLE_STEP_S : end]) * BUCKET_S) for line in lines)
        rows.append((ago, *(f"{number:,}" for number in sums)))
    return rows
