"""Fixtures of the tests with a plugin that pip installed."""

from tests.integration.queue import reuse
from tests.integration.worker import conftest

reused_database = reuse.reused_database
database = reuse.database
queue = conftest.queue
