"""Finds an account under which PostgreSQL starts, because it refuses to run as root.

A plain user runs it directly. Root first tries a user namespace in which the process takes
itself for nobody while the kernel still grants it root's file access: that works under a
0700 home. Where namespaces are forbidden (containers often forbid them), the process is
dropped to nobody, which needs every parent folder to be traversable by others.
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import TypedDict

from msgspec import Struct

from tallypost_cli.errors import StartUpError

_NOBODY = 65534
_PROBE_TIMEOUT_S = 10
_NAMESPACE = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


class Account(Struct, frozen=True):
    """How a command is started so that it does not see itself as root."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def wrap(self, command: list[str]) -> list[str]:
        """The command with what has to stand before it; the pid stays that of the command."""
        return [*self.prefix, *command]

    def identity(self) -> _Identity:
        """Keyword arguments of subprocess that switch to the account."""
        if self.uid is None or self.gid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def find_unprivileged_account(binary: Path, folder: Path) -> Account:
    """Choose the account that can execute `binary` and use `folder`.

    folder must exist. Only where root has to drop to nobody, its mode becomes 0711 so that
    nobody can pass through it. Raises StartUpError where no way works.
    """
    if os.geteuid() != 0:
        return Account()
    if shutil.which(_NAMESPACE[0]) and _runs([*_NAMESPACE, str(binary), "--version"], Account()):
        return Account(prefix=_NAMESPACE)
    nobody = pwd.getpwnam("nobody")
    account = Account(uid=nobody.pw_uid, gid=nobody.pw_gid)
    folder.chmod(0o711)
    # The shell changes the folder itself: subprocess would do so while it is still root.
    script = 'cd "$1" && exec "$2" --version'
    if _runs(["/bin/sh", "-c", script, "sh", str(folder), str(binary)], account):
        return account
    raise StartUpError(
        "PostgreSQL refuses to run as root, user namespaces are not available here, and user "
        f"nobody cannot reach {folder} or {binary}. Run as a plain user, move the checkout to a "
        "folder that everybody may enter, or set TALLYPOST_DATABASE_OWNER_URL to a server of "
        "your own."
    )


def _runs(command: list[str], account: Account) -> bool:
    try:
        finished = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
            cwd="/",
            **account.identity(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return finished.returncode == 0
