"""The databases of a local installation: embedded ones, or those that the settings name."""

from collections.abc import Mapping
from pathlib import Path

import asyncpg

from tallypost_cli import local_state, programs
from tallypost_cli.embedded import postgres
from tallypost_cli.embedded.postgres import EmbeddedPostgres
from tallypost_cli.embedded.redis import EmbeddedRedis
from tallypost_cli.environment import base_environment
from tallypost_cli.errors import StartUpError
from tallypost_cli.local_secrets import LocalSecrets
from tallypost_cli.ports import find_free_port
from tallypost_cli.supervisor import Say, Supervisor
from tallypost_core.settings.apps import CLISettings

# A crash recovery of a big data folder takes its time.
_READY_DEADLINE_S = 60.0
_MIGRATE_DEADLINE_S = 120.0
_CONNECT_TIMEOUT_S = 5.0


class LocalDatabases:
    """Starts what has to be embedded and brings the schema to this release.

    owner_url and redis_url may be read after `start`.
    """

    owner_url: str
    redis_url: str

    def __init__(
        self, folder: Path, settings: CLISettings, secrets: LocalSecrets, say: Say
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._secrets = secrets
        self._say = say
        self._state = local_state.load(folder)

    async def start(self, supervisor: Supervisor) -> None:
        """Start the embedded servers that are needed, on the ports they had if still free."""
        wanted = []
        if self._settings.database.owner_url is None:
            port = find_free_port(self._state.postgres_port)
            server = self._embedded_postgres()
            if not server.data.exists():
                self._say("Setting up PostgreSQL")
            server.prepare()
            self.owner_url = server.owner_url(port)
            self._remember(postgres_port=port)
            wanted.append(programs.postgres_program(server, port))
        else:
            self.owner_url = self._settings.database.owner_url.reveal()
        if self._settings.redis.url is None:
            port = find_free_port(self._state.redis_port)
            redis = EmbeddedRedis(self._folder / "redis", self._secrets.redis_password)
            redis.prepare(port)
            self.redis_url = redis.url(port)
            self._remember(redis_port=port)
            wanted.append(programs.redis_program(redis, port))
        else:
            self.redis_url = self._settings.redis.url.reveal()
        if wanted:
            self._say("Starting " + ", ".join(program.name for program in wanted))
            await supervisor.start(wanted, _READY_DEADLINE_S)

    async def migrate(
        self, supervisor: Supervisor, defaults: Mapping[str, str], environ: Mapping[str, str]
    ) -> bool:
        """Apply missing migrations and set the roles' passwords; False where all was in place.

        defaults and environ are those of `child_environment`.
        """
        revision = await self._current_revision()
        server = "embedded" if self._settings.database.owner_url is None else self.owner_url
        applied = local_state.fingerprint(server, self._secrets.role_passwords.values())
        if revision and (applied, revision) == (self._state.applied, self._state.revision):
            return False
        self._say("Migrating the database")
        environment = base_environment(environ) | {
            name: value
            for name, value in defaults.items()
            if name.startswith("TALLYPOST_DATABASE_")
        }
        environment["TALLYPOST_DATABASE_OWNER_URL"] = self.owner_url
        await supervisor.run(
            programs.own_command("migrate", ["migrate", "--set-passwords"], environment),
            _MIGRATE_DEADLINE_S,
        )
        self._remember(applied=applied, revision=await self._current_revision() or "")
        return True

    def _embedded_postgres(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(
            data=self._folder / "postgres",
            superuser_password=self._secrets.superuser_password,
            owner_password=self._secrets.owner_password,
            account=postgres.find_account(self._folder),
        )

    def _remember(self, **facts: str | int) -> None:
        self._state = local_state.replace(self._state, **facts)
        local_state.save(self._folder, self._state)

    async def _current_revision(self) -> str | None:
        """The revision in the database; None before the first migration."""
        try:
            connection = await asyncpg.connect(self.owner_url, timeout=_CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise StartUpError(f"Cannot log in to PostgreSQL as its owner: {error}") from error
        try:
            if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
                return None
            revision: str | None = await connection.fetchval(
                "SELECT version_num FROM alembic_version"
            )
        finally:
            await connection.close()
        return revision
