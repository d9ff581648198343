"""What others made is what the list says it is."""

import hashlib
import tomllib
from pathlib import Path

import tallypost_console

FOLDER = Path(tallypost_console.__file__).parent / "vendor"
LIST = "vendored.toml"


def test_every_file_of_others_is_listed_and_unchanged() -> None:
    packages = tomllib.loads((FOLDER / LIST).read_text(encoding="utf-8"))["package"]
    listed = {
        name: source["sha256"] for package in packages for name, source in package["files"].items()
    }
    found = {
        str(path.relative_to(FOLDER)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FOLDER.rglob("*")
        if path.is_file() and path.name != LIST
    }
    assert found == listed


def test_every_package_names_its_version_and_licence_and_brings_the_licence_along() -> None:
    packages = tomllib.loads((FOLDER / LIST).read_text(encoding="utf-8"))["package"]
    assert packages
    for package in packages:
        assert package["version"]
        assert package["license"]
        assert any(name.endswith(".LICENSE") for name in package["files"])
