"""Sees to it that a local installation has its sample data."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from tallypost_cli import programs, sample_access
from tallypost_cli.environment import child_environment
from tallypost_cli.sample_access import SampleAccess
from tallypost_cli.supervisor import Say, Supervisor
from tallypost_core.settings import databases, groups

_DEADLINE_S = 60.0


class SeedSettings(Struct, frozen=True):
    """Settings of `tallypost seed`."""

    database: databases.CLIDatabaseSettings
    secrets: groups.SecretsSettings


async def ensure(
    supervisor: Supervisor,
    folder: Path,
    defaults: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    is_stale: bool,
    say: Say,
) -> SampleAccess:
    """Lay the sample data where it is missing, and return its logins and keys.

    is_stale says that the database may have changed since they were written down; seeding again
    changes nothing that is there.
    """
    path = folder / sample_access.FILE_NAME
    access = sample_access.read(path)
    if access.is_complete and not is_stale:
        return access
    say("Laying the sample data")
    environment = child_environment(SeedSettings, defaults, environ)
    seed = programs.own_command("seed", ["seed", "--file", str(path)], environment)
    await supervisor.run(seed, _DEADLINE_S)
    return sample_access.read(path)
