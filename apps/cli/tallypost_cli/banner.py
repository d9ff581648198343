"""The lines that `up` prints once everything is ready; other programs read them."""

import shlex
from collections.abc import Mapping

from tallypost_cli.sample_access import SampleAccess


def lines(access: SampleAccess, ports: Mapping[str, int], console_url: str) -> list[str]:
    """One line for each fact, as `Name: value`. ports is by variable."""
    api_url = f"http://localhost:{ports['TALLYPOST_API_PORT']}"
    return [
        f"Console: {console_url}",
        f"Login: {access.first.owner_email} {access.first.owner_password}",
        f"Operator: {access.operator_email} {access.operator_password}",
        f"API: {api_url}",
        f"Live key: {access.first.live_key}",
        f"Test key: {access.first.test_key}",
        f"Sender: {access.first.sender}",
        f"Inbox: {console_url}/inbox",
        f"Inbox SMTP: localhost:{ports['TALLYPOST_INBOX_PORT']}",
        f"Try: {example_command(access, api_url)}",
    ]


def example_command(access: SampleAccess, api_url: str) -> str:
    """A command that sends one email in test mode; it can be pasted into any POSIX shell."""
    body = (
        f'{{"from":"{access.first.sender}","to":["you@example.com"],'
        '"subject":"Hello","text":"It works."}'
    )
    words = [
        *("curl", "-sS", f"{api_url}/emails"),
        *("-H", f"Authorization: Bearer {access.first.test_key}"),
        *("-H", "Content-Type: application/json"),
        *("-d", body),
    ]
    return shlex.join(words)
