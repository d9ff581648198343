"""Reads the worker's settings together with those of the plugins that TALLYPOST_PROVIDERS names.

A plugin's group becomes a field of the worker's Struct, beside `smtp` and the others, so that it is
read, checked and told of by the same loader.
"""

import os
from collections.abc import Mapping
from typing import cast

import msgspec
from msgspec import Struct

from tallypost_core.settings.apps import WorkerSettings, load
from tallypost_core.settings.loader import (
    SettingsError,
    fail_start_up,
    list_variables,
    read_variable,
)
from tallypost_providers.errors import ProviderMisconfigured
from tallypost_providers.registry import get_settings_struct


def load_worker(environ: Mapping[str, str] = os.environ) -> WorkerSettings:
    """The worker's settings, with a field for each plugin that is named.

    Raises SettingsError with every problem at once, also where a plugin cannot be used.
    """
    struct, problems = worker_struct(environ)
    try:
        settings = load(struct, environ)
    except SettingsError as error:
        raise SettingsError([*problems, *error.problems]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def load_worker_or_exit(environ: Mapping[str, str] = os.environ) -> WorkerSettings:
    """As `load_worker`, for an entry point: prints the problems and ends the process."""
    try:
        return load_worker(environ)
    except SettingsError as error:
        fail_start_up(error)


def worker_struct(environ: Mapping[str, str]) -> tuple[type[WorkerSettings], list[str]]:
    """What the worker reads with these names in TALLYPOST_PROVIDERS, and what is wrong with them.

    Plugins that are named are imported; providers of ours have their groups there already.
    """
    groups: dict[str, type[Struct]] = {}
    problems: list[str] = []
    try:
        names = read_provider_names(environ)
    except SettingsError:
        # Told by `load`, which reads the variable too.
        return WorkerSettings, problems
    for name in dict.fromkeys(names):
        if name in WorkerSettings.__struct_fields__:
            continue
        try:
            groups[name] = get_settings_struct(name)
        except ProviderMisconfigured as error:
            problems.append(error.message)
    if not groups:
        return WorkerSettings, problems
    extended = msgspec.defstruct(
        WorkerSettings.__name__,
        list(groups.items()),
        bases=(WorkerSettings,),
        module=__name__,
        frozen=True,
        kw_only=True,
    )
    return cast("type[WorkerSettings]", extended), problems


def read_provider_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What TALLYPOST_PROVIDERS names, best first; raises SettingsError where it is malformed."""
    (variable,) = (item for item in list_variables(WorkerSettings) if item.path == ("providers",))
    try:
        names = read_variable(variable, environ)
    except ValueError as error:
        raise SettingsError([f"{variable.name}: {error}"]) from None
    return cast("tuple[str, ...]", variable.default if names is msgspec.UNSET else names)
