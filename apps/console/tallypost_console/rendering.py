"""Renders pages and parts of pages: Jinja with autoescape, and what every page needs."""

from pathlib import Path
from typing import Any, Final, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response
from litestar.enums import MediaType

from tallypost_console import assets, charts, words
from tallypost_console.account_findings import STEP_STATES
from tallypost_console.addresses import address_of, of_tenant
from tallypost_console.edge import nonce
from tallypost_console.icons import icon
from tallypost_console.navigation import list_entries
from tallypost_console.services import Services
from tallypost_console.themes import THEMES, find_theme
from tallypost_console.visitors import remembered_visitor

_TEMPLATES: Final = Path(__file__).parent / "templates"

# Any: the types of user, auth and state, none of which we use.
AnyRequest: TypeAlias = Request[Any, Any, Any]


def _make_environment() -> Environment:
    """A name that a template uses and nobody gave is an error."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Templates do not change while the process runs.
        auto_reload=False,
    )
    environment.filters.update(words.FILTERS, of_tenant=of_tenant)
    environment.globals.update(
        address_of=address_of,
        asset=assets.asset_path,
        icon=icon,
        themes=THEMES,
        step_states=STEP_STATES,
        bar_chart=charts.bar_chart,
        line_chart=charts.line_chart,
        chart_shapes=charts.SHAPES,
    )
    # A global, for a part of a page is rendered without the layout that would import them.
    environment.globals["parts"] = environment.get_template("macros.html").module
    return environment


_ENVIRONMENT: Final = _make_environment()


# Any, here and below: whatever a template shows.
def render(
    request: AnyRequest,
    name: str,
    *,
    status_code: int = 200,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> Response[str]:
    """A page: the template `name` with its context, and with whoever asks for it.

    In every context: `visitor` (None where nobody signed in), `path`, `address` (to come back to:
    the path with its query; of what a form was answered, `back` or the start page), `theme`,
    `nonce`, and `mode` and `tenant`, which are None on pages that have none.

    Where htmx asks, to fill an element that has the name of one of the template's blocks, the
    answer is that block alone.
    """
    visitor = remembered_visitor(request)
    complete = {
        "visitor": visitor,
        "entries": list_entries(visitor, is_demo=_find_services(request).demo is not None)
        if visitor
        else [],
        "path": request.scope["path"],
        "address": _address(request, context),
        "theme": find_theme(request.cookies),
        "nonce": nonce(request.scope),
        "mode": None,
        "tenant": None,
        **context,
    }
    wanted = find_target(request)
    if wanted in _ENVIRONMENT.get_template(name).blocks:
        text = render_block(name, wanted, **complete)
    else:
        text = _ENVIRONMENT.get_template(name).render(complete)
    return Response(
        text,
        media_type=MediaType.HTML,
        status_code=status_code,
        headers={"vary": "hx-request, hx-target", **(headers or {})},
    )


def render_block(name: str, block: str, **context: Any) -> str:
    """One block of a template, without the page around it."""
    template = _ENVIRONMENT.get_template(name)
    return "".join(template.blocks[block](template.new_context(context)))


def is_partial(request: AnyRequest) -> bool:
    """True where htmx asks, which fills an element and does not open a page."""
    return request.headers.get("hx-request") == "true"


def find_target(request: AnyRequest) -> str:
    """The id of the element that htmx will fill; empty for a whole page."""
    if not is_partial(request):
        return ""
    # Sent as `div#results`.
    return request.headers.get("hx-target", "").rpartition("#")[2]


# Any: as above.
def _address(request: AnyRequest, context: dict[str, Any]) -> str:
    if request.method in ("GET", "HEAD"):
        return path_with_query(request)
    return str(context.get("back", "/"))


def _find_services(request: AnyRequest) -> Services:
    services: Services = request.app.state["services"]
    return services


def path_with_query(request: AnyRequest) -> str:
    """The address of a page as it stands in the browser, without the host."""
    query = request.scope["query_string"].decode("latin-1")
    path = request.url.path
    return f"{path}?{query}" if query else path
