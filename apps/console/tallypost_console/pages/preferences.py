"""What a person likes, remembered by the browser."""

from litestar import post
from litestar.di import NamedDependency
from litestar.response import Redirect

from tallypost_console.access import OPT_KEY, Everyone
from tallypost_console.errors import MalformedForm
from tallypost_console.forms import read_form
from tallypost_console.own_path import own_path
from tallypost_console.rendering import AnyRequest
from tallypost_console.services import Services
from tallypost_console.themes import THEMES, theme_cookie


@post("/theme", opt={OPT_KEY: Everyone.SIGNED_IN}, status_code=303)
async def choose_theme(request: AnyRequest, services: NamedDependency[Services]) -> Redirect:
    """Show all pages in this theme, beginning with the one that the form stands on."""
    form = await read_form(request)
    theme = form.require("theme")
    if theme not in THEMES:
        raise MalformedForm(field="theme")
    cookie = theme_cookie(theme, is_secure=services.origins.is_secure)
    return Redirect(own_path(form.find("then")), status_code=303, cookies=[cookie])
