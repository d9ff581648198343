"""Builds each app's environment from what its settings read, and nothing else.

An app gets the logins of its own database roles only, as it would in production. What the
person at the terminal set in their own environment wins over the local defaults.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from msgspec import Struct

from tallypost_cli.local_secrets import LocalSecrets
from tallypost_core.settings.apps import APP_SETTINGS
from tallypost_core.settings.loader import list_variables

_PASSED_ON = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
)
_DATABASE_PREFIX, _URL_SUFFIX = "TALLYPOST_DATABASE_", "_URL"
_OWNER_URL = "TALLYPOST_DATABASE_OWNER_URL"


def child_environment(
    struct: type[Struct], defaults: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of an app with these settings.

    defaults holds the local value of every variable that has one, for all apps. environ is the
    environment of the person who starts it. The values of a variable set there, or its `_FILE`,
    are taken from there.
    """
    environment = base_environment(environ)
    environment |= {name: value for name, value in environ.items() if name.startswith("OTEL_")}
    for variable in list_variables(struct):
        names = (variable.name, f"{variable.name}_FILE") if variable.is_secret else (variable.name,)
        given = {name: environ[name] for name in names if environ.get(name)}
        if given:
            environment |= given
        elif variable.name in defaults:
            environment[variable.name] = defaults[variable.name]
    if "TALLYPOST_OBJECTS_URL" in environment:
        # The object store may be S3, whose client reads its credentials by these names.
        environment |= {name: value for name, value in environ.items() if name.startswith("AWS_")}
    return environment


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What any program needs to find its files, its locale and the machine's certificates."""
    found = {name: environ[name] for name in _PASSED_ON if name in environ}
    return found | {"PYTHONUNBUFFERED": "1"}


def login_roles() -> tuple[str, ...]:
    """The database roles that the apps log in as, one for each address in their settings."""
    names = {
        variable.name for struct in APP_SETTINGS.values() for variable in list_variables(struct)
    }
    return tuple(sorted(_role_of(name) for name in names if _is_role_url(name)))


def local_defaults(
    folder: Path,
    secrets: LocalSecrets,
    owner_url: str,
    redis_url: str,
    ports: Mapping[str, int],
    environ: Mapping[str, str],
) -> dict[str, str]:
    """What a local installation sets for its apps, by variable.

    folder holds the attachments, ports is by variable (`TALLYPOST_API_PORT`). Mail goes to the
    local sink unless environ names a relay or providers.
    """
    defaults = {name: str(port) for name, port in ports.items()}
    defaults |= {
        url_variable(role): role_url(owner_url, role, password)
        for role, password in secrets.role_passwords.items()
    }
    defaults |= {
        "TALLYPOST_REDIS_URL": redis_url,
        "TALLYPOST_SECRETS_KEY_RING": secrets.key_ring,
        "TALLYPOST_SECRETS_PEPPERS": secrets.peppers,
        "TALLYPOST_OBJECTS_URL": (folder / "objects").as_uri(),
        "TALLYPOST_CONSOLE_URL": f"http://localhost:{ports['TALLYPOST_CONSOLE_PORT']}",
    }
    if not any(
        name.startswith("TALLYPOST_SMTP_") or name == "TALLYPOST_PROVIDERS" for name in environ
    ):
        defaults |= {
            "TALLYPOST_SMTP_HOST": "127.0.0.1",
            "TALLYPOST_SMTP_PORT": str(ports["TALLYPOST_INBOX_PORT"]),
            "TALLYPOST_SMTP_SECURITY": "none",
        }
    return defaults


def role_url(owner_url: str, role: str, password: str) -> str:
    """The owner's address with another login; host, database and options stay."""
    parts = urlsplit(owner_url)
    host = parts.netloc.rpartition("@")[2]
    login = f"{quote(role, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{host}"))


def url_variable(role: str) -> str:
    """The variable that holds the address with this role's login."""
    return _DATABASE_PREFIX + role.removeprefix("tp_").upper() + _URL_SUFFIX


def _is_role_url(name: str) -> bool:
    return name.startswith(_DATABASE_PREFIX) and name.endswith(_URL_SUFFIX) and name != _OWNER_URL


def _role_of(name: str) -> str:
    return "tp_" + name.removeprefix(_DATABASE_PREFIX).removesuffix(_URL_SUFFIX).lower()
