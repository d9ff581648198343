"""Where the demo does not run: sample mail and broken processes are for one machine only."""

import ipaddress
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from tallypost_cli.errors import StartUpError
from tallypost_cli.programs import APPS
from tallypost_cli.sample_access import SampleAccess
from tallypost_core.settings.apps import APP_SETTINGS
from tallypost_core.settings.loader import list_variables

_SERVERS = ("TALLYPOST_DATABASE_", "TALLYPOST_REDIS_", "TALLYPOST_NOTIFICATIONS_")
_MAIL = ("TALLYPOST_SMTP_", "TALLYPOST_SES_", "TALLYPOST_PROVIDERS")
_LISTENERS = tuple(app.host_variable for app in APPS)
_SUBSCRIBERS = "TALLYPOST_SUBSCRIBERS"
_API_HOST = "TALLYPOST_API_HOST"
_OBJECTS = "TALLYPOST_OBJECTS_URL"
_COLLECTOR = "TALLYPOST_TRACING_ENDPOINT"


def refuse_elsewhere(environ: Mapping[str, str]) -> None:
    """Raise StartUpError where settings lead away from this machine; it names all of them."""
    problems = list(_find_problems(environ))
    if problems:
        raise StartUpError(
            "\n".join(["The demo runs on this machine alone. Unset, or change:", *problems])
        )


async def refuse_routes(
    access: SampleAccess, count_routes: Callable[[str], Awaitable[int]]
) -> None:
    """Raise StartUpError where a sample tenant has routes; count_routes takes a key of a tenant.

    Workers read them from the database, so they count whatever the settings say.
    """
    found = [
        f"  {tenant.owner_email}: {count}"
        for tenant in (access.first, access.second)
        if (count := await count_routes(tenant.live_key))
    ]
    if found:
        raise StartUpError(
            "\n".join(
                [
                    "The demo does not start: sample tenants have routes. By owner:",
                    *found,
                    "Sample mail, bursts of 1,000 emails among it, would go where they lead, which "
                    "may be a real account.",
                    "Run `make up`, sign in as the owner and delete them under Providers, Routes. "
                    "Or start afresh with `make clean-data`.",
                ]
            )
        )


def is_loopback(url: str) -> bool:
    """True where an address of a server names this machine and no other."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    hosts = [value for name, value in parse_qsl(parts.query) if name in ("host", "hostaddr")]
    if parts.hostname or not hosts:
        hosts.append(parts.hostname or "")
    return all(_is_local_host(host) for host in hosts)


def _find_problems(environ: Mapping[str, str]) -> Iterator[str]:
    for name, url in _server_urls(environ):
        if not is_loopback(url):
            yield f"  {name}, whose server is not on a loopback address"
    for name, value in sorted(environ.items()):
        if value and name.startswith(_MAIL):
            yield f"  {name}, since the demo brings providers of its own"
    if environ.get(_SUBSCRIBERS):
        yield f"  {_SUBSCRIBERS}, since its plugins would be told of sample mail"
    yield from _find_open_listeners(environ)
    if (objects := environ.get(_OBJECTS)) and not objects.lower().startswith("file:"):
        yield f"  {_OBJECTS}, since the content of sample mail stays in a folder"
    if (collector := environ.get(_COLLECTOR)) and not is_loopback(collector):
        yield f"  {_COLLECTOR}, whose collector is not on a loopback address"


def _find_open_listeners(environ: Mapping[str, str]) -> Iterator[str]:
    for name in _LISTENERS:
        host = environ.get(name)
        if host and not _is_local_host(host):
            yield f"  {name}, which is not a loopback address"
        elif name == _API_HOST and host not in (None, "", "127.0.0.1"):
            yield f"  {name}, since the demo sends to 127.0.0.1"


def _server_urls(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    names = {
        variable.name
        for struct in APP_SETTINGS.values()
        for variable in list_variables(struct)
        if variable.name.startswith(_SERVERS) and variable.is_secret
    }
    for name in sorted(names):
        if url := environ.get(name):
            yield name, url
        elif file := environ.get(f"{name}_FILE"):
            try:
                yield f"{name}_FILE", Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise StartUpError(f"{name}_FILE: {file} cannot be read.") from error


def _is_local_host(host: str) -> bool:
    if host == "localhost" or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
