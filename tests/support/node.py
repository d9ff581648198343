"""Packages of npm as judges: installed once below .tallypost, by exact version."""

import shutil
import subprocess
from pathlib import Path

import pytest

CACHE = Path(__file__).resolve().parents[2] / ".tallypost" / "cache" / "node"
LEAST_MAJOR = 20

_INSTALL_LIMIT_S = 180


def require_node_package(package: str) -> Path:
    """The folder where a package such as `name@1.2.3` is installed; skips without Node."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on PATH")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    major = int(version.stdout.removeprefix("v").partition(".")[0])
    if major < LEAST_MAJOR:
        pytest.skip(f"node is {version.stdout.strip()}; {LEAST_MAJOR} or later is needed")
    folder = CACHE / package.replace("@", "-").replace("/", "-")
    if not (folder / "installed").exists():
        _install(package, folder)
    return folder


def _install(package: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # npm would otherwise look for a project in the folders above.
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    finished = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", package],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_INSTALL_LIMIT_S,
        check=False,
    )
    assert finished.returncode == 0, f"npm could not install {package}:\n{finished.stderr}"
    (folder / "installed").touch()
