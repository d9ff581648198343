"""Fetches the files of others that the console serves, from npm, and checks them against hashes.

What is listed and why stands in `apps/console/tallypost_console/vendor/vendored.toml`. Nothing is
built, and nothing but npm is needed, and that here only: the files are part of the project.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "apps/console/tallypost_console/vendor"
_LIST = _FOLDER / "vendored.toml"


def main() -> None:
    """Fetch every package, compare or accept, and write what has changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accept", action="store_true", help="write the hashes of what came")
    accepts = parser.parse_args().accept
    text = _LIST.read_text(encoding="utf-8")
    for package in tomllib.loads(text)["package"]:
        name = f"{package['name']}@{package['version']}"
        sys.stdout.write(f"{name}\n")
        with tempfile.TemporaryDirectory() as folder, tarfile.open(_pack(name, folder)) as archive:
            for target, source in package["files"].items():
                body = _read(archive, f"package/{source['from']}")
                found = hashlib.sha256(body).hexdigest()
                if accepts:
                    text = _with_hash(text, target, found)
                elif found != source["sha256"]:
                    sys.exit(f"{target} of {name} is not what the list says: {found}")
                path = _FOLDER / target
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(body)
    if accepts:
        _LIST.write_text(text, encoding="utf-8")


def _pack(name: str, folder: str) -> Path:
    command = ["npm", "pack", "--silent", "--pack-destination", folder, name]
    # The names are those of our own list.
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    (archive,) = Path(folder).iterdir()
    return archive


def _read(archive: tarfile.TarFile, path: str) -> bytes:
    member = archive.extractfile(path)
    if member is None:
        sys.exit(f"{path} is no file")
    return member.read()


def _with_hash(text: str, target: str, found: str) -> str:
    line = re.compile(rf'^("{re.escape(target)}" = .*sha256 = )"[0-9a-f]*"', re.MULTILINE)
    return line.sub(rf'\g<1>"{found}"', text)


if __name__ == "__main__":
    main()
