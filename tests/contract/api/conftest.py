"""A running API, and the official clients pointed at it."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import resend

from tallypost_domain.api_keys import service as api_keys
from tests.support.api_server import RunningAPI, api_settings, run_api
from tests.support.database import PEPPERS, Database, SeededTenant
from tests.support.node import require_node_package

NODE_CLIENT = "resend@6.38.0"
CALLER = Path(__file__).with_name("call_resend.cjs")

_CALL_LIMIT_S = 60


@pytest.fixture
def api(database: Database, tmp_path: Path) -> Iterator[RunningAPI]:
    """The API on this test's database."""
    with run_api(api_settings(database, tmp_path / "objects")) as running:
        yield running


@pytest.fixture
async def slow_key(database: Database, tenant: SeededTenant) -> str:
    """A key of the tenant that gets one request in 100 seconds, after its burst of 10."""
    async with database.session("tp_cli", tenant.id) as session:
        created = await api_keys.create_key(
            session, tenant.id, mode="live", name="slow", peppers=PEPPERS, rate_limit_per_s=0.01
        )
    return created.token


@pytest.fixture
def python_client(
    api: RunningAPI, tenant: SeededTenant, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """Points the Python client, a module with settings, at the API with the live key.

    Give it another key by `python_client.setattr(resend, "api_key", ...)`.
    """
    monkeypatch.setattr(resend, "api_url", api.url)
    monkeypatch.setattr(resend, "api_key", tenant.live_key.token)
    return monkeypatch


class NodeClient:
    """The Node client, each of whose runs is a process with a script of calls."""

    def __init__(self, url: str, key: str, modules: Path) -> None:
        self.key = key
        self._url = url
        self._modules = modules

    def call(self, method: str, *arguments: object, key: str | None = None) -> Mapping[str, Any]:
        """What one call resolves to: `data`, `error` and `headers`."""
        return self.run([[method, *arguments]], key=key)[0]

    def run(self, calls: list[list[object]], *, key: str | None = None) -> list[Mapping[str, Any]]:
        """Make the calls in one process, one after the other.

        Each is a method such as `emails.send` and its arguments. A text `<n.path>` in an argument
        stands for a value of the n-th result, `{"$bytes": [...]}` for a Buffer.
        """
        finished = subprocess.run(
            ["node", str(CALLER), str(self._modules)],
            input=json.dumps(calls),
            env={
                "PATH": os.environ["PATH"],
                "RESEND_BASE_URL": self._url,
                "RESEND_API_KEY": key or self.key,
            },
            capture_output=True,
            text=True,
            timeout=_CALL_LIMIT_S,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        results: list[Mapping[str, Any]] = json.loads(finished.stdout)
        return results


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder where the Node client is installed; skips where Node cannot be used."""
    return require_node_package(NODE_CLIENT)


@pytest.fixture
def node_client(api: RunningAPI, tenant: SeededTenant, node_modules: Path) -> NodeClient:
    """The Node client pointed at the API with the live key."""
    return NodeClient(api.url, tenant.live_key.token, node_modules)
