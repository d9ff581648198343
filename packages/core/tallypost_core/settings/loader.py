"""Reads `TALLYPOST_<GROUP>_<FIELD>` variables into an app's settings Struct.

All problems are reported at once: a missing value, a wrong type, an unreadable `*_FILE`, and a
`TALLYPOST_` variable that no app knows (a typing mistake would otherwise go unnoticed).
"""

import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec

PREFIX = "TALLYPOST_"

TEST_PREFIX = "TALLYPOST_TEST_"
"""Variables of the test suite; the programs that it starts inherit and ignore them."""

T = TypeVar("T", bound=msgspec.Struct)


class Secret:
    """A string that does not show itself in logs, tracebacks or `repr`; see `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Call it where the value is used, never to pass it around."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class SettingsError(Exception):
    """The environment does not make valid settings; `problems` has one line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{len(problems)} problem(s) in the settings:\n{lines}")


class Variable(msgspec.Struct, frozen=True):
    """One environment variable: where its value goes and what it means."""

    name: str
    path: tuple[str, ...]
    type_: Any
    hint: Any
    description: str
    default: Any
    is_required: bool
    check: Callable[[str], object] | None = None
    """Raises ValueError, without quoting the text, where a text of the right type means nothing."""

    @property
    def is_secret(self) -> bool:
        """True where the value may also be read from a file named by `<NAME>_FILE`."""
        return self.type_ is Secret or Secret in typing.get_args(self.type_)


def load_settings(
    struct: type[T],
    environ: Mapping[str, str],
    known_structs: tuple[type[msgspec.Struct], ...],
    list_plugin_prefixes: Callable[[], tuple[str, ...]] = tuple,
) -> T:
    """Build `struct` from environment variables.

    known_structs are the settings of all apps: a variable that belongs to another app is fine,
    one that belongs to none is an error unless it begins as list_plugin_prefixes says, which is
    asked only where there is such a one. Raises SettingsError with every problem found.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for variable in list_variables(struct):
        try:
            value = read_variable(variable, environ)
        except (ValueError, OSError) as error:
            problems.append(f"{variable.name}: {error}")
            continue
        if value is msgspec.UNSET:
            if variable.is_required:
                problems.append(f"{variable.name} is missing: {variable.description}")
            continue
        target = values
        for part in variable.path[:-1]:
            target = target.setdefault(part, {})
        target[variable.path[-1]] = value
    problems += _unknown_variables(environ, known_structs, list_plugin_prefixes)
    if problems:
        raise SettingsError(problems)
    return typing.cast(T, _build(struct, values))


# Any: the type is the one that the variable states.
def read_variable(variable: Variable, environ: Mapping[str, str]) -> Any:
    """The value of one variable, UNSET where nothing is set.

    Raises ValueError where the text does not make a value, and OSError where its file is not
    readable; neither quotes a secret.
    """
    raw = _find_raw(variable, environ)
    if raw is None:
        return msgspec.UNSET
    value = _convert(raw, variable.hint)
    if variable.check is not None:
        variable.check(raw)
    return value


def list_variables(struct: type[msgspec.Struct], group: str | None = None) -> list[Variable]:
    """Every variable that a settings Struct reads, in the order of its fields.

    group is the name of struct's field where it is a group by itself.
    """
    return list(_walk(struct, () if group is None else (group,)))


def _walk(struct: type[msgspec.Struct], path: tuple[str, ...]) -> Iterator[Variable]:
    hints = typing.get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        type_, meta = split_hint(hints[field.name])
        here = (*path, field.name)
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            yield from _walk(type_, here)
            continue
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        else:
            default = field.default
        yield Variable(
            name=PREFIX + "_".join(here).upper(),
            path=here,
            type_=type_,
            hint=hints[field.name],
            description=(meta.description if meta else None) or "",
            default=None if default is msgspec.NODEFAULT else default,
            is_required=field.required,
            check=(meta.extra or {}).get("check") if meta else None,
        )


def split_hint(hint: Any) -> tuple[Any, msgspec.Meta | None]:
    """The bare type of a field's annotation and its Meta, if it has one."""
    if typing.get_origin(hint) is Annotated:
        type_, *extras = typing.get_args(hint)
        return type_, next((extra for extra in extras if isinstance(extra, msgspec.Meta)), None)
    return hint, None


def _find_raw(variable: Variable, environ: Mapping[str, str]) -> str | None:
    raw = environ.get(variable.name)
    file = environ.get(f"{variable.name}_FILE") if variable.is_secret else None
    if raw and file:
        raise ValueError(f"is set twice; drop it or {variable.name}_FILE")
    if file:
        return _read_secret(Path(file))
    # An empty variable means unset: compose files and shells cannot express the difference.
    return raw or None


def _read_secret(file: Path) -> str:
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        # Its message quotes bytes of the file.
        raise ValueError(f"{file} is not UTF-8 text") from None
    if not secret:
        raise ValueError(f"{file} is empty")
    return secret


def _convert(raw: str, hint: Any) -> Any:
    type_, _ = split_hint(hint)
    origin = typing.get_origin(type_)
    if origin in (types.UnionType, typing.Union):
        (type_,) = (part for part in typing.get_args(type_) if part is not type(None))
        origin = typing.get_origin(type_)
    if type_ is Secret:
        return Secret(raw)
    if type_ is Path:
        return Path(raw)
    if origin is tuple:
        item_type = typing.get_args(type_)[0]
        items = tuple(_convert(item.strip(), item_type) for item in raw.split(",") if item.strip())
        if not items:
            raise ValueError("is an empty list")
        return items
    # The whole hint, so that the bounds in its Meta hold. A ValidationError is a ValueError.
    value = msgspec.convert(raw, hint, strict=False)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("Expected a finite number")
    return value


def _build(struct: type[msgspec.Struct], values: dict[str, Any]) -> msgspec.Struct:
    hints = typing.get_type_hints(struct)
    arguments: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        type_ = hints[field.name]
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            arguments[field.name] = _build(type_, values.get(field.name, {}))
        elif field.name in values:
            arguments[field.name] = values[field.name]
    return struct(**arguments)


def _unknown_variables(
    environ: Mapping[str, str],
    known_structs: tuple[type[msgspec.Struct], ...],
    list_plugin_prefixes: Callable[[], tuple[str, ...]],
) -> list[str]:
    known: set[str] = set()
    for struct in known_structs:
        for variable in list_variables(struct):
            known.add(variable.name)
            if variable.is_secret:
                known.add(f"{variable.name}_FILE")
    unknown = [
        name
        for name in sorted(environ)
        if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX) and name not in known
    ]
    of_plugins = list_plugin_prefixes() if unknown else ()
    return [
        f"{name} is not a setting of any app; see docs/settings.md for the names"
        for name in unknown
        if not name.startswith(of_plugins)
    ]


def fail_start_up(error: SettingsError) -> NoReturn:
    """End the process with the whole list of problems on standard error."""
    raise SystemExit(f"{error}\nEvery setting is described in docs/settings.md.")
