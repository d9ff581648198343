"""Fixtures of the simulators' tests."""

from collections.abc import AsyncIterator

import pytest

from tallypost_simulators.ses_simulator import SESSimulator
from tests.support.ses_client import DOMAIN, SESClient


@pytest.fixture
async def ses() -> AsyncIterator[SESSimulator]:
    """SES with an account that may send from DOMAIN."""
    async with SESSimulator() as simulator:
        simulator.account.add_domain(DOMAIN)
        yield simulator


@pytest.fixture
async def client(ses: SESSimulator) -> AsyncIterator[SESClient]:
    """Amazon's SDK."""
    client_ = SESClient(ses.url)
    yield client_
    client_.close()
