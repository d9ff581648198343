"""Fixtures of the tests of accounts and routes."""

from tests.integration.queue import reuse

reused_database = reuse.reused_database
database = reuse.database
