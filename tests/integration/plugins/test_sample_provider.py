"""A provider that only pip has told Tallypost about: the suite judges it, a worker uses it."""

import asyncio
import email
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from msgspec import Struct

from tallypost_cli.ports import find_free_port
from tallypost_simulators.smtp_reception import ReceivedMessage
from tallypost_simulators.smtp_sink import SMTPSink
from tests.contract.providers.cases import CASE_VARIABLE
from tests.integration.queue.harness import Harness
from tests.integration.worker.loops import until
from tests.support.database import SeededTenant
from tests.support.plugins import ROOT, SAMPLE
from tests.support.programs import Program
from tests.support.worker import worker_environment

LABEL = "from-the-sample-tests"
_LIMIT_S = 120


class Site(Struct, frozen=True):
    """A worker process with the sample before a relay."""

    folder: Path
    behaviour: Path
    relayed: list[ReceivedMessage]
    program: Program

    def find_files(self, email_id: UUID) -> list[Path]:
        """The messages of one email in the sample's folder."""
        return list(self.folder.glob(f"{email_id}.*.eml"))


@asynccontextmanager
async def running_site(
    queue: Harness, redis_url: str, sample_folder: Path, tmp_path: Path
) -> AsyncIterator[Site]:
    """A worker process that finds the sample as an installation does: by its entry point."""
    folder, behaviour, label = (tmp_path / name for name in ("mail", "behaviour", "label"))
    folder.mkdir()
    label.write_text(LABEL)
    relayed: list[ReceivedMessage] = []

    async def keep(message: ReceivedMessage) -> None:
        relayed.append(message)

    async with SMTPSink(keep) as sink:
        port = find_free_port()
        environment = worker_environment(
            queue.database,
            redis_url=redis_url,
            objects=tmp_path,
            smtp_port=sink.port,
            PYTHONPATH=str(sample_folder),
            TALLYPOST_PROVIDERS="eml,smtp",
            TALLYPOST_EML_FOLDER=str(folder),
            TALLYPOST_EML_LABEL_FILE=str(label),
            TALLYPOST_EML_BEHAVIOUR_FILE=str(behaviour),
            TALLYPOST_WORKER_PORT=str(port),
        )
        program = Program("worker", "tallypost_worker", environment, port, tmp_path)
        program.start()
        try:
            yield Site(folder, behaviour, relayed, program)
        finally:
            # Beside the relay, which the worker takes leave of.
            await asyncio.to_thread(program.stop)


async def until_sent(queue: Harness, *tenants: SeededTenant) -> None:
    """Return once nothing of theirs is due or under way."""

    async def is_done() -> bool:
        left = [await queue.fetch(owner, "SELECT 1 FROM send_queue") for owner in tenants]
        return not any(left)

    await until(is_done, within_s=60)


async def accounts_of(queue: Harness, tenant: SeededTenant) -> list[tuple[str, str, str]]:
    query = "SELECT provider, account, outcome FROM attempts ORDER BY id"
    rows = await queue.fetch(tenant, query)
    return [(row["provider"], row["account"], row["outcome"]) for row in rows]


def test_sample_passes_the_contract_suite_as_its_guide_runs_it(sample_folder: Path) -> None:
    judged = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-n0", "-p", "no:cacheprovider"),
            "tests/contract/providers/test_contract.py",
        ],
        cwd=ROOT,
        env=os.environ
        | {
            "PYTHONPATH": f"{sample_folder}{os.pathsep}{SAMPLE / 'judging'}",
            CASE_VARIABLE: "eml_case:eml_case",
        },
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout
    passed = {line.split()[0] for line in judged.stdout.splitlines() if " PASSED" in line}
    told = [name for name in passed if "message_arrives_as_it_was_rendered" in name]
    # The sample's own case and no other, on both event loops.
    assert len(told) == 2
    assert all("eml_case:eml_case" in name for name in told)


def test_installed_sample_is_listed_with_its_version(sample_folder: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-P", "-m", "tallypost_cli", "plugins", "--json"],
        env=os.environ
        | {
            "PYTHONPATH": str(sample_folder),
            "TALLYPOST_PROVIDERS": "eml",
            "TALLYPOST_EML_FOLDER": str(sample_folder),
        },
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=True,
    )
    (found,) = (item for item in json.loads(listed.stdout)["providers"] if item["name"] == "eml")
    assert (found["distribution"], found["version"]) == ("tallypost-eml", "1.0.0")
    assert (found["is_named"], found["problem"]) == (True, None)


async def test_mail_of_every_tenant_goes_through_the_plugin_once(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    redis_url: str,
    sample_folder: Path,
    tmp_path: Path,
) -> None:
    async with running_site(queue, redis_url, sample_folder, tmp_path) as site:
        (first,) = await queue.add(tenant, to=["a@r.test"], bcc=["hidden@r.test"])
        (other,) = await queue.add(other_tenant, to=["b@r.test"])
        await until_sent(queue, tenant, other_tenant)
    for owner, email_id, recipients in (
        (tenant, first, ["a@r.test", "hidden@r.test"]),
        (other_tenant, other, ["b@r.test"]),
    ):
        (path,) = site.find_files(email_id)
        message = email.message_from_bytes(path.read_bytes())
        assert message["From"] == f"hello@{owner.domain}"
        assert b"hidden@r.test" not in path.read_bytes()
        envelope = json.loads(path.with_suffix(".json").read_bytes())
        assert (envelope["recipients"], envelope["label"]) == (recipients, LABEL)
        assert await accounts_of(queue, owner) == [("eml", "eml", "accepted")]
        assert set((await queue.statuses(owner, email_id)).values()) == {"sent"}
        assert await queue.billed(owner, email_id) == len(recipients)
    assert site.relayed == []
    assert LABEL not in site.program.log_path.read_text()


async def test_mail_that_the_plugin_refuses_goes_over_to_the_relay(
    queue: Harness,
    tenant: SeededTenant,
    other_tenant: SeededTenant,
    redis_url: str,
    sample_folder: Path,
    tmp_path: Path,
) -> None:
    async with running_site(queue, redis_url, sample_folder, tmp_path) as site:
        site.behaviour.write_text("refuse")
        (refused,) = await queue.add(tenant)
        await until_sent(queue, tenant)
        site.behaviour.unlink()
        (taken,) = await queue.add(other_tenant)
        await until_sent(queue, other_tenant)
    assert [got.email_id for got in site.relayed] == [str(refused)]
    assert site.find_files(refused) == []
    assert await accounts_of(queue, tenant) == [
        ("eml", "eml", "unavailable"),
        ("smtp", "smtp", "accepted"),
    ]
    assert await accounts_of(queue, other_tenant) == [("eml", "eml", "accepted")]
    for owner, email_id in ((tenant, refused), (other_tenant, taken)):
        assert set((await queue.statuses(owner, email_id)).values()) == {"sent"}
        assert await queue.billed(owner, email_id) == 1


async def test_test_mail_stays_in_the_inbox(
    queue: Harness, tenant: SeededTenant, redis_url: str, sample_folder: Path, tmp_path: Path
) -> None:
    async with running_site(queue, redis_url, sample_folder, tmp_path) as site:
        (email_id,) = await queue.add(tenant, mode="test")
        await until_sent(queue, tenant)
    assert site.find_files(email_id) == []
    assert await accounts_of(queue, tenant) == [("inbox", "inbox", "accepted")]
