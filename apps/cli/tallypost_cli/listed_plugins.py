"""What `tallypost plugins` tells of every plugin, whatever it is for."""

from importlib.metadata import EntryPoint
from typing import Self

from msgspec import Struct

from tallypost_cli.plugin_settings import Setting


class ListedPlugin(Struct, frozen=True, kw_only=True):
    """A plugin that is installed, or that is named without that."""

    name: str
    distribution: str | None = None
    version: str | None = None
    source: str | None = None
    """Module and class."""
    folder: str | None = None
    """Where the distribution is installed."""
    is_named: bool
    problem: str | None = None
    """Why it cannot be loaded, or be made where it is named; None where it can."""
    settings: tuple[Setting, ...] = ()

    @classmethod
    def from_entry_point(cls, entry_point: EntryPoint, *, is_named: bool) -> Self:
        """One that is installed; nothing of it is imported."""
        found = entry_point.dist
        return cls(
            name=entry_point.name,
            distribution=found.name if found else None,
            version=found.version if found else None,
            source=entry_point.value,
            folder=str(found.locate_file("")) if found else None,
            is_named=is_named,
        )
