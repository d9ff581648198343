"""scripts/bootstrap: what it refuses, and that it does nothing when nothing is to be done."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with all that the script reads."""
    folder = tmp_path / "a checkout"
    (folder / "scripts").mkdir(parents=True)
    for name in ("scripts/bootstrap", "scripts/installer.lock"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("requirements.lock", "pyproject.toml"):
        (folder / name).write_text("")
    return folder


def _interpreter(folder: Path, version: str, *, has_venv: bool) -> Path:
    """A program that answers the script's questions as a Python of that version would."""
    path = folder / f"python{version}"
    supported = version in ("3.11", "3.12", "3.13")
    path.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f"*version_info*) exit {0 if supported else 1} ;;\n"
        f"*ensurepip*) exit {0 if has_venv else 1} ;;\n"
        f"*python_version*) echo {version}.0 ;;\n"
        "*) exit 1 ;;\n"
        "esac\n"
    )
    path.chmod(0o755)
    return path


def _bootstrap(checkout: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "scripts/bootstrap"],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("version", ["2.7", "3.10", "3.14"])
def test_another_python_is_refused_by_its_version(checkout: Path, version: str) -> None:
    python = _interpreter(checkout, version, has_venv=True)
    refused = _bootstrap(checkout, PYTHON=str(python))
    assert refused.returncode == 1
    assert f"is {version}.0" in refused.stderr
    assert "3.11, 3.12 or 3.13" in refused.stderr


def test_a_python_without_venv_is_refused_with_the_line_that_helps(checkout: Path) -> None:
    python = _interpreter(checkout, "3.12", has_venv=False)
    refused = _bootstrap(checkout, PYTHON=str(python))
    assert refused.returncode == 1
    assert "apt-get install python3-venv" in refused.stderr


def test_a_shim_that_refuses_to_run_is_told(checkout: Path) -> None:
    shim = checkout / "python3.12"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    refused = _bootstrap(checkout, PYTHON=str(shim))
    assert refused.returncode == 1
    assert "does not run" in refused.stderr


def test_a_python_that_is_not_there_is_told(checkout: Path) -> None:
    refused = _bootstrap(checkout, PYTHON=str(checkout / "nowhere"))
    assert refused.returncode == 1
    assert "is not there" in refused.stderr


def test_a_missing_git_is_told_with_the_line_that_helps(checkout: Path) -> None:
    tools = checkout / "tools"
    tools.mkdir()
    for tool in ("sh", "dirname", "cat", "cksum"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    refused = _bootstrap(checkout, PATH=str(tools))
    assert refused.returncode == 1
    assert "apt-get install git" in refused.stderr


def test_nothing_is_done_where_everything_is_installed(checkout: Path) -> None:
    # The stamp that the script itself would write: folder, interpreter, what was installed.
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(_interpreter(checkout, "3.11", has_venv=True), python)
    sums = subprocess.run(
        ["cksum", "requirements.lock", "pyproject.toml", "scripts/installer.lock"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (checkout / ".venv" / ".bootstrapped").write_text(f"{checkout}\nany\n{sums}")
    done = _bootstrap(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (checkout / "requirements.lock").write_text("changed==1\n")
    assert _bootstrap(checkout).returncode != 0
