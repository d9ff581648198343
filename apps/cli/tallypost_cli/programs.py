"""What the supervisor runs, as data: databases, the six servers and the local mail sink."""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from tallypost_cli.embedded.accounts import Account
from tallypost_cli.embedded.postgres import EmbeddedPostgres
from tallypost_cli.embedded.redis import EmbeddedRedis
from tallypost_cli.environment import child_environment
from tallypost_cli.guard import Role
from tallypost_cli.probes import Probe, http_probe, smtp_probe
from tallypost_core.settings import apps
from tallypost_core.settings.plugins import select_subscriber_variables
from tallypost_providers import account_settings

DEFAULT_PORT_BASE = 8000

# The apps allow themselves 10 s. All of it together stays under 20 s.
_APP_GRACE_S = 12.0
DATABASE_GRACE_S = 5.0
IMMEDIATE_GRACE_S = 1.5
_LOOPBACK = "127.0.0.1"
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 these are recognised here, not bound


class StopStep(Struct, frozen=True):
    """A signal and how long to wait for it to work; after the last step comes SIGKILL."""

    number: signal.Signals
    grace_s: float


class Program(Struct, frozen=True):
    """One program that the supervisor keeps running, or, without a probe, runs to its end.

    environment is all that it sees. cwd is its current folder. The pid of its process is that
    of the program itself, whatever `account` puts before the command.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    cwd: Path
    probe: Probe | None
    role: Role = "app"
    account: Account = Account()
    stop_steps: tuple[StopStep, ...] = (StopStep(signal.SIGTERM, _APP_GRACE_S),)


class AppDescription(Struct, frozen=True):
    """An app that `up` starts: where it listens and which settings it reads.

    arguments are those of the Python interpreter.
    """

    name: str
    arguments: tuple[str, ...]
    settings: type[Struct]
    port_variable: str
    default_port: int
    speaks_http: bool = True

    @property
    def host_variable(self) -> str:
        """The variable that names the address to bind."""
        return self.port_variable.removesuffix("_PORT") + "_HOST"


def _server(name: str, settings: type[Struct], default_port: int) -> AppDescription:
    return AppDescription(
        name=name,
        arguments=("-m", f"tallypost_{name}"),
        settings=settings,
        port_variable=f"TALLYPOST_{name.upper()}_PORT",
        default_port=default_port,
    )


APPS = (
    _server("api", apps.APISettings, 8000),
    _server("console", apps.ConsoleSettings, 8001),
    _server("templates", apps.TemplatesSettings, 8002),
    _server("billing", apps.BillingSettings, 8003),
    _server("worker", apps.WorkerSettings, 8004),
    _server("bounces", apps.BouncesSettings, 8005),
    AppDescription(
        name="local-inbox",
        arguments=("-m", "tallypost_cli", "local-inbox"),
        settings=apps.LocalInboxSettings,
        port_variable="TALLYPOST_INBOX_PORT",
        default_port=1025,
        speaks_http=False,
    ),
)


def default_ports(port_base: int) -> dict[str, int]:
    """Each app's port by its variable; all move with the base, the Inbox's 1025 too.

    A result may lie outside 1 to 65535; whoever binds it has to check.
    """
    shift = port_base - DEFAULT_PORT_BASE
    return {app.port_variable: app.default_port + shift for app in APPS}


def app_programs(
    descriptions: Sequence[AppDescription],
    defaults: Mapping[str, str],
    environ: Mapping[str, str],
    cwd: Path,
) -> list[Program]:
    """The apps as programs, each with its own environment.

    Raises SettingsError where an app could not start with it.
    """
    programs = []
    for app in descriptions:
        environment = _environment_of(app, defaults, environ)
        host = environment.get(app.host_variable, _LOOPBACK)
        port = int(environment[app.port_variable])
        probe = http_probe if app.speaks_http else smtp_probe
        programs.append(
            Program(
                name=app.name,
                # -P: what lies in the current folder is not importable.
                command=[sys.executable, "-P", *app.arguments],
                environment=environment,
                cwd=cwd,
                probe=probe(_LOOPBACK if host in _WILDCARDS else host, port),
            )
        )
    return programs


def _environment_of(
    app: AppDescription, defaults: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    if app.settings is not apps.WorkerSettings:
        environment = child_environment(app.settings, defaults, environ)
        apps.load(app.settings, environment)
        return environment
    # What it reads depends on which plugins it is to use.
    struct, _ = account_settings.worker_struct(environ)
    environment = child_environment(struct, defaults, environ)
    environment |= select_subscriber_variables(apps.APP_SETTINGS.values(), environ)
    account_settings.load_worker(environment)
    return environment


def own_command(name: str, arguments: list[str], environment: dict[str, str]) -> Program:
    """One of this command line's own commands, as a program that ends by itself."""
    return Program(
        name=name,
        command=[sys.executable, "-P", "-m", "tallypost_cli", *arguments],
        environment=environment,
        cwd=Path("/"),
        probe=None,
    )


def postgres_program(server: EmbeddedPostgres, port: int) -> Program:
    """The embedded PostgreSQL; SIGINT is its fast stop, SIGQUIT an immediate one."""

    async def probe(pid: int) -> str | None:
        return None if server.is_ready(pid) else "the server is starting"

    return Program(
        name="postgres",
        command=server.command(port),
        environment=server.environment(),
        cwd=Path("/"),
        probe=probe,
        role="database",
        account=server.account,
        stop_steps=(
            StopStep(signal.SIGINT, DATABASE_GRACE_S),
            StopStep(signal.SIGQUIT, IMMEDIATE_GRACE_S),
        ),
    )


def redis_program(server: EmbeddedRedis, port: int) -> Program:
    """The embedded Redis; SIGTERM makes it flush its file and end."""

    async def probe(_pid: int) -> str | None:
        return None if server.is_ready(port) else "the server is starting"

    return Program(
        name="redis",
        command=server.command(),
        environment=server.environment(),
        cwd=server.data,
        probe=probe,
        role="database",
        stop_steps=(StopStep(signal.SIGTERM, DATABASE_GRACE_S),),
    )
