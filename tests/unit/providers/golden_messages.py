"""The bytes of each shape, in files, so that whoever reviews a change sees what it does to them.

`.venv/bin/python -m tests.unit.providers.golden_messages` writes the files anew.
"""

from pathlib import Path

from tallypost_providers.message import render
from tests.unit.providers.mail_shapes import SHAPES

FOLDER = Path(__file__).with_name("golden")


def golden_file(name: str) -> Path:
    """Where the bytes of a shape are kept."""
    return FOLDER / f"{name}.eml"


def main() -> None:
    """Write all files, and remove those whose shape is gone."""
    for file in FOLDER.glob("*.eml"):
        file.unlink()
    for name, email in SHAPES.items():
        golden_file(name).write_bytes(render(email))


if __name__ == "__main__":
    main()
