"""Stands in for an app under the supervisor: says that it is ready and notes what happens to it.

Usage: fake_app.py NOTES PORT_VARIABLE. Appends lines to the file NOTES: `start PID` once it
listens, and on SIGTERM `stop yes` or `stop no`, for whether the database still took connections.
Special behaviour by a file beside NOTES named after the variable: `stubborn` ignores SIGTERM,
`broken` ends at once with a complaint. Whoever it greets by SMTP or asks by HTTP is satisfied.
"""

import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def main() -> None:
    """Listen on the port in the environment until SIGTERM."""
    notes, port_variable = Path(sys.argv[1]), sys.argv[2]
    behaviour_file = notes.with_name(port_variable)
    behaviour = behaviour_file.read_text() if behaviour_file.exists() else ""
    if behaviour == "broken":
        raise SystemExit("the fake app is broken")

    def note(text: str) -> None:
        with notes.open("a") as file:
            file.write(f"{text}\n")

    def stop(_number: int, _frame: FrameType | None) -> None:
        if behaviour != "stubborn":
            note(f"stop {'yes' if _database_answers() else 'no'}")
            raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    with socket.create_server(("127.0.0.1", int(os.environ[port_variable]))) as server:
        note(f"start {os.getpid()}")
        while True:
            connection, _ = server.accept()
            with connection:
                if port_variable == "TALLYPOST_INBOX_PORT":
                    connection.sendall(b"220 fake\r\n")
                else:
                    connection.recv(4096)
                    connection.sendall(_ANSWER)


def _database_answers() -> bool:
    url = next(
        value for name, value in os.environ.items() if name.startswith("TALLYPOST_DATABASE_")
    )
    try:
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=2).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
