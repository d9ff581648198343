"""What the other commands know about an `up` that runs on a data folder."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from tallypost_cli import checkout_lock, local_secrets, local_state
from tallypost_cli.embedded.accounts import Account
from tallypost_cli.embedded.postgres import EmbeddedPostgres
from tallypost_cli.embedded.redis import EmbeddedRedis
from tallypost_cli.environment import login_roles, role_url, url_variable
from tallypost_core.settings import apps


class Addresses(Struct, frozen=True):
    """How to reach the databases; None where no address is known. role_urls is by role."""

    owner_url: str | None
    redis_url: str | None
    role_urls: Mapping[str, str]


def find_addresses(folder: Path, environ: Mapping[str, str]) -> Addresses:
    """The addresses that environ names, else those of the embedded servers of a running `up`.

    Raises SettingsError for mistakes in environ.
    """
    settings = apps.load(apps.CLISettings, environ)
    owner = settings.database.owner_url
    redis = settings.redis.url
    owner_url = owner.reveal() if owner else None
    redis_url = redis.reveal() if redis else None
    role_urls = {role: environ.get(url_variable(role), "") for role in login_roles()}
    if checkout_lock.running_supervisor(folder) is not None:
        secrets = local_secrets.load_or_make(folder, login_roles())
        state = local_state.load(folder)
        if owner_url is None and state.postgres_port is not None:
            postgres = EmbeddedPostgres(
                folder / "postgres", secrets.superuser_password, secrets.owner_password, Account()
            )
            owner_url = postgres.owner_url(state.postgres_port)
        if redis_url is None and state.redis_port is not None:
            redis_url = EmbeddedRedis(folder / "redis", secrets.redis_password).url(
                state.redis_port
            )
        if owner_url is not None:
            for role, password in secrets.role_passwords.items():
                role_urls[role] = role_urls[role] or role_url(owner_url, role, password)
    return Addresses(owner_url, redis_url, {role: url for role, url in role_urls.items() if url})
