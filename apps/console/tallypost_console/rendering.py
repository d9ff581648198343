"""Renders pages: Jinja with autoescape, and what every page needs."""

from pathlib import Path
from typing import Any, Final, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request
from litestar.enums import MediaType
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template
from litestar.template import TemplateConfig

from tallypost_console import assets, words
from tallypost_console.icons import icon
from tallypost_console.themes import THEMES, find_theme
from tallypost_console.visitors import remembered_visitor

_TEMPLATES: Final = Path(__file__).parent / "templates"

# Any: the types of user, auth and state, none of which we use.
AnyRequest: TypeAlias = Request[Any, Any, Any]


def template_config() -> TemplateConfig[JinjaTemplateEngine]:
    """The engine of all pages. A name that a template uses and nobody gave is an error."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Templates do not change while the process runs.
        auto_reload=False,
    )
    environment.filters.update(
        tone=words.tone,
        full_time=words.full_time,
        short_time=words.short_time,
        size=words.size,
        duration=words.duration,
        sentence=words.sentence,
    )
    environment.globals.update(asset=assets.asset_path, icon=icon, themes=THEMES)
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment))


# Any: whatever a template shows.
def render(
    request: AnyRequest,
    name: str,
    *,
    status_code: int = 200,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> Template:
    """A page: the template `name` with its context, and with whoever asks for it.

    In every context: `visitor` (None where nobody signed in), `path`, `address` (the path with its
    query), `theme`, and `mode` and `tenant`, which are None on pages that have none.
    """
    return Template(
        name,
        context={
            "visitor": remembered_visitor(request),
            "path": request.scope["path"],
            "address": path_with_query(request),
            "theme": find_theme(request.cookies),
            "mode": None,
            "tenant": None,
            **context,
        },
        media_type=MediaType.HTML,
        status_code=status_code,
        headers=headers,
    )


def path_with_query(request: AnyRequest) -> str:
    """The address of a page as it stands in the browser, without the host."""
    query = request.scope["query_string"].decode("latin-1")
    path = request.url.path
    return f"{path}?{query}" if query else path
