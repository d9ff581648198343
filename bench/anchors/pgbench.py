"""PostgreSQL's own pgbench: how many durable inserts a second this server takes."""

import os
import re
from urllib.parse import unquote, urlsplit

from bench import mail
from bench.children import Children
from bench.platform import execute
from tallypost_cli.embedded.postgres import find_binary
from tallypost_cli.environment import base_environment

CLIENTS = 32

_THREADS = 2
_GRACE_S = 30.0
_RATE = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)

_TABLES = """
    CREATE TABLE single (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);
    CREATE TABLE message (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id int NOT NULL,
        idem_key text NOT NULL, from_addr text NOT NULL, subject text NOT NULL, html text NOT NULL,
        UNIQUE (tenant_id, idem_key)
    );
    CREATE TABLE recipient (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, message_id bigint NOT NULL,
        tenant_id int NOT NULL, addr text NOT NULL
    );
"""

# The single row is 200 B.
_SINGLE = "INSERT INTO single (body) VALUES (:small);\n"
# The shape of accepting an email, in the fewest rows that could store one.
_TWO_ROWS = """WITH m AS (
    INSERT INTO message (tenant_id, idem_key, from_addr, subject, html)
    VALUES (1, gen_random_uuid()::text, 'hello@example.com', 'Your receipt', :html)
    RETURNING id, tenant_id
)
INSERT INTO recipient (message_id, tenant_id, addr)
SELECT id, tenant_id, 'somebody@example.net' FROM m;
"""


def prepare(url: str) -> None:
    """Make the tables in an empty database."""
    execute(url, _TABLES)


def single_row_rate(children: Children, url: str, seconds: float) -> float:
    """Transactions a second that insert one row of 200 bytes."""
    return _rate(children, url, _SINGLE, {"small": "x" * 190}, seconds)


def two_row_rate(children: Children, url: str, seconds: float) -> float:
    """Transactions a second that insert a message of 10 kB and its recipient."""
    return _rate(children, url, _TWO_ROWS, {"html": mail.html()}, seconds)


def _rate(
    children: Children, url: str, script: str, variables: dict[str, str], seconds: float
) -> float:
    # The tables begin empty in each round, as the product's do.
    execute(url, "TRUNCATE single, message, recipient")
    path = children.folder / "pgbench.sql"
    path.write_text(script, encoding="ascii")
    parts = urlsplit(url)
    definitions = [f"-D{name}={value}" for name, value in variables.items()]
    output = children.run(
        "pgbench",
        [
            str(find_binary("pgbench")),
            *("-n", "-M", "prepared", "-f", str(path)),
            # pgbench counts whole seconds only.
            *("-c", str(CLIENTS), "-j", str(_THREADS), "-T", str(max(1, round(seconds)))),
            *definitions,
            *("-h", str(parts.hostname), "-p", str(parts.port), "-U", str(parts.username)),
            parts.path.removeprefix("/"),
        ],
        within_s=seconds + _GRACE_S,
        environment=base_environment(os.environ) | {"PGPASSWORD": unquote(parts.password or "")},
    )
    rate, failed = _RATE.search(output), _FAILED.search(output)
    if rate is None or (failed is not None and int(failed[1])):
        raise RuntimeError(f"pgbench did not do its work:\n{output}")
    return float(rate[1])
