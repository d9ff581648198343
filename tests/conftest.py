"""Fixtures and settings that every test may use."""

from hypothesis import settings

pytest_plugins = ["tests.support.database", "tests.support.plugins", "tests.support.worker"]

# A deadline per example would judge the machine, not the code.
settings.register_profile("tallypost", deadline=None)
settings.load_profile("tallypost")
