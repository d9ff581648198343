"""The documents speak of what exists: paths, commands, settings, links."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from msgspec import Struct

from tallypost_api.error_table import ROWS
from tallypost_core.settings.apps import APP_SETTINGS
from tallypost_core.settings.loader import list_variables

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "docs" / "adr"
SAMPLES = ROOT / "tests" / "plugins"
DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + list((ROOT / "docs").rglob("*.md"))
)

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
TARGET = re.compile(r"^([a-z][a-z-]*):(?!=)", re.MULTILINE)
SETTING = re.compile(r"\bTALLYPOST_[A-Z0-9_]+[A-Z0-9]\b")
# A path inside the repository: words joined by slashes, or a file name with a known ending.
# Routes start with a slash, addresses have a scheme, media types are listed below.
PATH = re.compile(r"^[\w.<>*{][\w.,<>*{}-]*(/[\w.,<>*{}-]+)*/?$")
FILE_ENDING = re.compile(r"\.(md|py|toml|lock|sql|json|yaml|yml|html|css|js)$")
MEDIA_TYPE = re.compile(r"^(application|audio|image|message|multipart|text|video)/")
PLACEHOLDER = re.compile(r"<[^<>]*>")
BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
# Folders of a developer's machine or of a build machine.
MACHINE_PATH = re.compile(
    r"(?<![\w./:])/(?:etc|home|mnt|opt|private|root|tmp|usr|var|work|Users)/[\w.]"
)
SHELL = frozenset({"", "bash", "console", "sh"})
SOURCE = ("apps", "docs", "packages", "tests")
# Made while running, so a fresh checkout does not have them.
MADE_LATER = frozenset({".tallypost", ".venv", "uv.lock"})
# Read by the tests, not by an app.
SETTINGS_OF_TESTS = "TALLYPOST_TEST_"


def in_code(text: str) -> Iterator[str]:
    """The code of a document: each inline span outside fences, and each line in a shell fence."""
    for fence in FENCE.finditer(text):
        if fence[1] in SHELL:
            yield from fence[2].splitlines()
    yield from (match[1] for match in SPAN.finditer(without_fences(text)))


def without_fences(text: str) -> str:
    """The text with fenced blocks cut out."""
    return FENCE.sub("", text)


def find_paths(text: str) -> set[str]:
    """What reads as a path of the repository, in inline code and as a word in shell fences."""
    words = (word.strip("'\"") for code in in_code(text) for word in code.split())
    return {
        word
        for word in words
        if PATH.match(word)
        and ("/" in word or FILE_ENDING.search(word))
        and not MEDIA_TYPE.match(word)
    }


def does_path_exist(path: str) -> bool:
    """True where each reading of `{a,b}`, `*` and `<name>` in a path matches a file or folder.

    A bare file name, such as `service.py`, may stand anywhere in the source.
    """
    if path.split("/")[0] in MADE_LATER:
        return True
    pattern = PLACEHOLDER.sub("*", path).rstrip("/")
    choices = [part.split(",") for part in BRACES.findall(pattern)]
    frame = BRACES.sub("{}", pattern)
    return all(is_in_source(frame.format(*choice)) for choice in product(*choices))


def is_in_source(pattern: str) -> bool:
    """True where a pattern matches from the root, or as a bare name in any folder of ours."""
    if any(ROOT.glob(pattern)):
        return True
    return "/" not in pattern and any(any(ROOT.glob(f"{top}/**/{pattern}")) for top in SOURCE)


def find_make_targets(text: str) -> set[str]:
    """Targets of `make` that the code of a document names."""
    return {target for code in in_code(text) for target in MAKE.findall(code)}


def slug(heading: str) -> str:
    """The fragment by which a rendered page addresses a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")


def find_broken_links(document: Path, text: str) -> list[str]:
    """Relative links whose file or heading does not exist."""
    broken = []
    for target in LINK.findall(without_fences(text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        if not file.exists() or (fragment and fragment not in list_fragments(file)):
            broken.append(target)
    return broken


def list_fragments(file: Path) -> set[str]:
    """The fragments that a page offers."""
    text = without_fences(file.read_text(encoding="utf-8"))
    return {slug(heading) for heading in HEADING.findall(text)}


def known_settings() -> set[str]:
    """Every variable that an app reads, and its form that names a file."""
    names = {
        variable.name for struct in APP_SETTINGS.values() for variable in list_variables(struct)
    }
    for sample, group, struct in (
        ("sample_provider/src/tallypost_eml.py", "eml", "EMLSettings"),
        ("sample_subscriber/src/tallypost_jsonl.py", "jsonl", "JSONLSettings"),
    ):
        settings = sample_settings(SAMPLES / sample, struct)
        names |= {variable.name for variable in list_variables(settings, group)}
    return names | {f"{name}_FILE" for name in names}


def sample_settings(file: Path, struct: str) -> type[Struct]:
    """The settings of a sample plugin, which no app knows and a guide names."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where its annotations are looked up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    settings: type[Struct] = getattr(module, struct)
    return settings


def read(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


@every_document
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    missing = sorted(path for path in find_paths(read(document)) if not does_path_exist(path))
    assert missing == []


@every_document
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    targets = find_make_targets(read(document))
    assert sorted(targets - set(TARGET.findall(read(ROOT / "Makefile")))) == []


@every_document
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    assert find_broken_links(document, read(document)) == []


@every_document
def test_every_setting_that_a_document_names_exists(document: Path) -> None:
    named = {
        name for name in SETTING.findall(read(document)) if not name.startswith(SETTINGS_OF_TESTS)
    }
    assert sorted(named - known_settings()) == []


@every_document
def test_no_document_names_a_machine_of_ours(document: Path) -> None:
    assert MACHINE_PATH.findall(read(document)) == []


def test_the_page_about_sending_lists_every_error_of_the_api_and_no_other() -> None:
    listed = set(
        re.findall(r"^\| (\d{3}) \| `(\w+)` \|", read(ROOT / "docs" / "api.md"), re.MULTILINE)
    )
    assert listed == {(str(row.status), row.name) for row in ROWS}


def test_every_page_is_listed_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(read(index))
    }
    pages = {page for page in (ROOT / "docs").glob("*.md") if page != index}
    assert sorted(name_of(page) for page in pages - linked) == []


def test_the_guides_to_plugins_show_the_samples_as_they_are() -> None:
    files = [path for path in SAMPLES.rglob("*") if path.suffix in {".py", ".toml"}]
    source = "\n".join(map(read, files))
    shown = [
        text
        for language, text in FENCE.findall(read(ROOT / "docs" / "plugins.md"))
        if language in {"python", "toml"}
    ]
    assert shown
    assert [text for text in shown if text not in source] == []


def test_decision_records_are_numbered_without_a_gap_and_listed() -> None:
    records = sorted(path for path in RECORDS.glob("*.md") if path.name != "README.md")
    numbers = [int(path.name[:4]) for path in records]
    assert numbers == list(range(1, len(records) + 1))
    index = read(RECORDS / "README.md")
    assert [path.name for path in records if f"({path.name})" not in index] == []


@pytest.mark.parametrize("record", sorted(RECORDS.glob("[0-9]*.md")), ids=name_of)
def test_a_decision_record_has_the_headings_of_the_template(record: Path) -> None:
    text = read(record)
    assert HEADING.findall(text)[0].startswith(f"{record.name[:4]}. ")
    assert HEADING.findall(text)[1:] == [
        "Context",
        "Decision",
        "Consequences",
        "Alternatives",
        "References",
    ]
    assert re.search(
        r"^Status: (proposed|accepted|replaced by \d{4})\. Built: ", text, re.MULTILINE
    )


def test_paths_are_told_from_routes_media_types_and_words() -> None:
    text = (
        "`packages/core/` `README.md` `/emails/batch` `text/plain` `from` `a b/c.py` `https://x/y`"
    )
    assert find_paths(text) == {"packages/core/", "README.md", "b/c.py"}


def test_a_path_that_does_not_exist_is_noticed() -> None:
    assert does_path_exist("packages/{core,domain}/tallypost_*/")
    assert does_path_exist("apps/<app>/tallypost_<app>/")
    assert not does_path_exist("packages/{core,nowhere}/")
    assert not does_path_exist("docs/no-such-page.md")


def test_a_link_to_a_missing_page_or_heading_is_noticed() -> None:
    document = ROOT / "README.md"
    text = "[a](docs/style.md#words) [b](docs/style.md#no-such-heading) [c](docs/none.md)"
    assert find_broken_links(document, text) == ["docs/style.md#no-such-heading", "docs/none.md"]


def test_a_make_target_is_read_from_code_and_not_from_prose() -> None:
    text = "We make things.\n\n```bash\nmake no-such-target\n```\n\nThen `make up`."
    assert find_make_targets(text) == {"no-such-target", "up"}


def test_a_path_of_a_machine_is_noticed() -> None:
    assert MACHINE_PATH.findall("see /home/ada/x and file:///srv/objects and /v3/mail/send")
    assert not MACHINE_PATH.findall("`GET /emails/{id}` and `docs/var/x`")
