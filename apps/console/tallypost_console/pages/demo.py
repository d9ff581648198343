"""The demo's control panel: break things on this machine and see that no email is lost."""

import math
from collections.abc import Mapping
from typing import Any, Final

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from tallypost_console.access import OPT_KEY
from tallypost_console.demo import Demo
from tallypost_console.errors import MalformedForm, PageNotFound
from tallypost_console.forms import Form, read_form
from tallypost_console.pages.overview import measure
from tallypost_console.rendering import AnyRequest, is_partial, render, render_block
from tallypost_console.services import Services
from tallypost_console.streams import stream
from tallypost_console.visitors import Visitor
from tallypost_domain.people.permissions import Permission

_PATH: Final = "/demo"
_TEMPLATE: Final = "demo.html"
# Takes away the card about a form that failed before.
_NO_PROBLEM: Final = '<hx-partial hx-target="#problem" hx-swap="innerHTML"></hx-partial>'
# What each provider's simulator is, and what it can be told to do; forms are sent to its name.
SIMULATORS: Final = {
    "ses": (
        "An Amazon SES on this machine, asked first.",
        (
            ("none", "Takes everything"),
            ("429", "Too fast (429)"),
            ("5xx", "Says it failed (5xx)"),
            ("5xx_silent", "Answers 502, no word"),
            ("hang", "Takes it, says nothing"),
            ("slow", "Answers byte by byte"),
            ("reset_before", "Resets before reading"),
            ("reset_after", "Resets after reading"),
            ("drop_reply", "Takes it, drops reply"),
        ),
    ),
    "smtp": (
        "A mail server on this machine, asked second.",
        (
            ("none", "Takes everything"),
            ("4xx", "Puts off (4xx)"),
            ("5xx", "Refuses for good (5xx)"),
            ("hang", "Takes it, says nothing"),
            ("drop_reply", "Takes it, drops reply"),
        ),
    ),
}
_RATES: Final = (("0", "None"), ("5", "5 a second"), ("20", "20 a second"), ("100", "100 a second"))
_LATENCIES: Final = (("0", "None"), ("100", "100 ms"), ("500", "500 ms"), ("2000", "2 s"))


class DemoPages(Controller):
    """Only where `tallypost demo` runs, and for operators only."""

    path = _PATH
    opt = {OPT_KEY: Permission.PLATFORM_OPERATE}  # noqa: RUF012 - Litestar reads it from the class

    @get("/")
    async def show_panel(
        self, request: AnyRequest, services: NamedDependency[Services]
    ) -> Response[str]:
        """Charts, knobs and the story. Raises PageNotFound where no demo runs, DemoAway."""
        return render(request, _TEMPLATE, **await _find(services))

    @get("/live")
    async def follow_panel(
        self,
        request: AnyRequest,
        services: NamedDependency[Services],
        visitor: NamedDependency[Visitor],
    ) -> Stream:
        """Charts, story and what was done, whenever they change.

        Raises PageNotFound where no demo runs, TooManyStreams.
        """
        _require_demo(services)

        async def view() -> str:
            return _render_live(await _find(services))

        return stream(request, services, visitor, _PATH, view)

    @post("/{action:str}", status_code=200)
    async def act(
        self, request: AnyRequest, services: NamedDependency[Services], action: FromPath[str]
    ) -> Response[Any]:
        """Turn a knob or press a button. Raises DemoAway, DemoRefused, MalformedForm."""
        fields = _read(action, await read_form(request))
        await _require_demo(services).command(f"/{action}", fields)
        if is_partial(request):
            text = _render_live(await _find(services)) + _NO_PROBLEM
            return Response(text, media_type=MediaType.HTML)
        return Redirect(_PATH, status_code=303)


# Any: what the template shows.
async def _find(services: Services) -> dict[str, Any]:
    return {
        "demo": await _require_demo(services).get_state(),
        "simulators": SIMULATORS,
        "rates": _RATES,
        "latencies": _LATENCIES,
        **await measure(services),
    }


# Any: as above.
def _render_live(found: dict[str, Any]) -> str:
    """Charts, and apart from them the story, which stands below the knobs."""
    story = render_block(_TEMPLATE, "story", **found)
    return (
        render_block(_TEMPLATE, "numbers", **found)
        + f'<hx-partial hx-target="#story" hx-swap="innerMorph">{story}</hx-partial>'
    )


def _require_demo(services: Services) -> Demo:
    if services.demo is None:
        raise PageNotFound
    return services.demo


def _read(action: str, form: Form) -> Mapping[str, object]:
    """What a form says, as the controller takes it."""
    match action:
        case "traffic":
            return {"rate_per_s": _number(form, "rate_per_s")}
        case "burst":
            return {"count": _whole(form, "count")}
        case "ses" | "smtp":
            return {
                "knob": form.require("knob"),
                "share": _number(form, "share") / 100,
                "latency_ms": _whole(form, "latency_ms"),
            }
        case "story":
            return {"action": form.require("action")}
        case "kill-worker" | "flush-redis" | "reset":
            return {}
    raise PageNotFound


def _number(form: Form, name: str) -> float:
    try:
        number = float(form.require(name))
    except ValueError as error:
        raise MalformedForm(field=name) from error
    if not math.isfinite(number):
        raise MalformedForm(field=name)
    return number


def _whole(form: Form, name: str) -> int:
    return int(_number(form, name))
