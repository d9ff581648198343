"""The sample data: who can sign in, what the keys may do, and that repeating changes nothing."""

import subprocess
import sys
from pathlib import Path

from tallypost_cli import sample_access
from tallypost_domain.api_keys.service import KeyDirectory
from tallypost_domain.db import sessions
from tallypost_domain.domains import service as domains
from tallypost_domain.people import service as people
from tests.support.database import PEPPER_SETTING, PEPPERS, RING_SETTING, Database


def _seed(database: Database, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "tallypost_cli", "seed", "--file", str(file)],
        env={
            "TALLYPOST_DATABASE_CLI_URL": database.url("tp_cli"),
            "TALLYPOST_SECRETS_KEY_RING": RING_SETTING,
            "TALLYPOST_SECRETS_PEPPERS": PEPPER_SETTING,
        },
        capture_output=True,
        text=True,
        check=False,
    )


async def test_keys_and_logins_of_both_tenants_and_the_operator_work(
    database: Database, tmp_path: Path
) -> None:
    assert _seed(database, tmp_path / "seed.env").returncode == 0
    access = sample_access.read(tmp_path / "seed.env")
    tenants = set()
    async with database.sessions("tp_api") as makers:
        directory = KeyDirectory(makers, PEPPERS)
        for tenant in (access.first, access.second):
            live = await directory.authenticate(tenant.live_key)
            test = await directory.authenticate(tenant.test_key)
            assert (live.mode, test.mode) == ("live", "test")
            assert live.tenant_id == test.tenant_id
            assert live.rate_limit_per_s is not None
            assert live.rate_limit_per_s >= 1000
            domain = tenant.sender.partition("@")[2]
            async with sessions.tenant_session(makers, live.tenant_id) as session:
                assert await domains.find_verified_domain_id(session, live.tenant_id, domain)
            tenants.add(live.tenant_id)
    assert len(tenants) == 2
    async with database.sessions("tp_console") as makers:
        for email, password, is_operator in (
            (access.first.owner_email, access.first.owner_password, False),
            (access.second.owner_email, access.second.owner_password, False),
            (access.operator_email, access.operator_password, True),
        ):
            token = await people.sign_in(makers, email=email, password=password, peppers=PEPPERS)
            person = await people.find_session(makers, token, PEPPERS)
            assert person is not None
            assert person.is_operator == is_operator


async def test_seeding_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "seed.env"
    assert _seed(database, file).returncode == 0
    first = file.read_text()
    assert _seed(database, file).returncode == 0
    assert file.read_text() == first


async def test_keys_that_were_made_but_not_written_down_are_made_again(
    database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "seed.env"
    _seed(database, file)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if "_KEY=" not in line))
    assert _seed(database, file).returncode == 0
    async with database.sessions("tp_api") as makers:
        key = sample_access.read(file).first.live_key
        assert (await KeyDirectory(makers, PEPPERS).authenticate(key)).mode == "live"


async def test_lost_logins_are_told_and_nothing_is_printed_of_the_others(
    database: Database, tmp_path: Path
) -> None:
    _seed(database, tmp_path / "seed.env")
    refused = _seed(database, tmp_path / "other.env")
    assert refused.returncode == 1
    assert "clean-data" in refused.stderr
    assert "Traceback" not in refused.stderr
    password = sample_access.read(tmp_path / "other.env").operator_password
    assert password not in refused.stdout + refused.stderr
