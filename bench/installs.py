"""Installs what we compare ourselves with, into a folder that git ignores.

Versions are fixed. An installer sees the whole environment of whoever runs this, which may
name a proxy, a mirror or certificates. What needs the system's package manager is installed only by
root and only where no service would start by it; else the reader is told what to install.
"""

import os
import shutil
import sys
from pathlib import Path

from bench.children import Children
from bench.errors import Absent, Failed, brief
from bench.sinks import find_postfix_tool

_WITHIN_S = 300.0
_NO_SERVICES = Path("/usr/sbin/policy-rc.d")
_SYSTEMD = Path("/run/systemd/system")


def require_python_packages(children: Children, folder: Path, packages: tuple[str, ...]) -> str:
    """An interpreter that has exactly these packages; made where it is missing.

    Raises Absent where they cannot be installed.
    """
    python = folder / "bin" / "python"
    stamp = folder / "packages"
    wanted = "\n".join(packages)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return str(python)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        children.run("venv", [sys.executable, "-m", "venv", str(folder)], within_s=_WITHIN_S)
        children.run(
            "pip",
            [str(python), "-m", "pip", "install", "--quiet", *packages],
            within_s=_WITHIN_S,
            environment=os.environ,
        )
    except Failed as error:
        raise Absent(f"pip could not install {', '.join(packages)}: {brief(error)}") from error
    stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def require_node_package(children: Children, folder: Path, name: str, version: str) -> Path:
    """The folder of an npm package; installed where it is missing.

    Raises Absent without npm, or where it cannot be installed.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise Absent("node and npm are not installed")
    package = folder / "node_modules" / name
    stamp = folder / "version"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == version:
        return package
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        children.run(
            "npm",
            [*command, "--prefix", str(folder), f"{name}@{version}"],
            within_s=_WITHIN_S,
            environment=os.environ,
        )
    except Failed as error:
        raise Absent(f"npm could not install {name} {version}: {brief(error)}") from error
    stamp.write_text(version, encoding="utf-8")
    return package


def ensure_postfix(children: Children) -> None:
    """Install Postfix where that is harmless; raises Absent, with the reason, where it is not."""
    if find_postfix_tool("smtp-source"):
        return
    apt = shutil.which("apt-get")
    if apt is None:
        raise Absent("Postfix is not installed, and there is no apt-get to install it")
    if os.geteuid() != 0:
        raise Absent("Postfix is not installed; root may: apt-get install postfix")
    if _SYSTEMD.exists() and not _NO_SERVICES.exists():
        raise Absent(
            "Postfix is not installed, and installing it would start a mail server; "
            "do it yourself: apt-get install postfix"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        for words in (["update"], ["install", "--yes", "--no-install-recommends", "postfix"]):
            children.run(
                "apt-get", [apt, "--quiet", *words], within_s=_WITHIN_S, environment=environment
            )
    except Failed as error:
        raise Absent(f"apt-get could not install Postfix: {brief(error)}") from error
