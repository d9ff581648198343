"""Fills the queue with copies of an email that the product itself accepted.

Every row that the API wrote for the model is multiplied inside the database, with ids, recipient
and subject of its own. So a copy has whatever rows the present schema gives an email, and nothing
here knows their columns.
"""

import http.client
import json
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from bench import http_load, mail
from bench.children import Children
from bench.context import Context
from bench.errors import Failed
from bench.http_load import MODEL_NUMBER, Job
from bench.platform import API, Platform, Sender, connected
from tallypost_domain.db.pools import Connection

QUEUE = ("send_queue",)
"""What finished emails have no rows in."""

# Filled first: the rows of the others refer to its.
_PARENT = "emails"
# Different ids that the rows of one email may have.
_KINDS = 16
_ANSWER_WITHIN_S = 10.0

# Ids rise with their number, as those of emails do with time; their kind keeps them apart.
_SCHEMA = """
    CREATE SCHEMA IF NOT EXISTS bench;
    CREATE OR REPLACE FUNCTION bench.id(kind int, n bigint) RETURNS uuid
    LANGUAGE sql STABLE AS $$
        SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')
                || '7' || lpad(to_hex(kind), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid
    $$;
"""

# Partitions are left out: their parents hold the same rows.
_UUID_COLUMNS = """
    SELECT c.relname::text AS name, array_agg(a.attname::text) AS columns
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition AND a.atttypid = 'uuid'::regtype AND NOT a.attisdropped
    GROUP BY c.relname
    ORDER BY c.relname <> $1, c.relname
"""

_TYPES = """
    SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type
    FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
"""


class Backlog:
    """Copies of one tenant's email; `make_backlog` makes one."""

    def __init__(
        self, children: Children, platform: Platform, api: API, sender: Sender, number: int = 0
    ) -> None:
        """number tells the backlogs of one database apart, 0 to 255. The model stays queued."""
        self._platform = platform
        self._api = api
        self._sender = sender
        self._made = 0
        job = Job(
            port=api.port,
            token=sender.token,
            sender=sender.address,
            clients=1,
            requests=1,
            keeps_ids=True,
        )
        (model_id,) = http_load.ask(children, job).sent
        self._inserts = connected(
            platform.superuser_url, lambda it: _describe(it, UUID(model_id), number)
        )

    def fill(self, count: int, *, without: Sequence[str] = ()) -> None:
        """Add so many copies in one transaction, with the planner's statistics up to date.

        without names tables that get no rows.
        """
        connected(self._platform.superuser_url, lambda it: self._fill(it, count, without))

    async def insert(self, connection: Connection, count: int) -> None:
        """Add so many copies in one transaction of a connection, with all constraints checked."""
        async with connection.transaction():
            await self._insert(connection, count, ())

    def kick(self) -> None:
        """Send one email of this tenant through the API, which wakes the workers."""
        body = mail.request(self._sender.address, ["kick@example.net"], "Receipt")
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._api.port, timeout=_ANSWER_WITHIN_S
        )
        try:
            headers = {"authorization": f"Bearer {self._sender.token}"}
            connection.request("POST", "/emails", json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise Failed(f"the API answered {answer.status}: {answer.read()[:300]!r}")
        finally:
            connection.close()

    async def _fill(self, connection: Connection, count: int, without: Sequence[str]) -> None:
        async with connection.transaction():
            # What is copied was checked when the model came in.
            await connection.execute("SET LOCAL session_replication_role = replica")
            for name in await self._insert(connection, count, without):
                await connection.execute(f"ANALYZE {name}")

    async def _insert(
        self, connection: Connection, count: int, without: Sequence[str]
    ) -> list[str]:
        first = self._made + 1
        self._made += count
        filled = [name for name in self._inserts if name not in without]
        for name in filled:
            await connection.execute(self._inserts[name], first, self._made)
        return filled


def make_backlog(context: Context, platform: Platform, api: API, sender: Sender) -> Backlog:
    """A backlog, in a database that looks as if it had been used; no worker may run yet."""
    (backlog,) = make_backlogs(context, platform, api, [sender])
    return backlog


def make_backlogs(
    context: Context, platform: Platform, api: API, senders: Sequence[Sender]
) -> list[Backlog]:
    """As `make_backlog`, one for each sender."""
    backlogs = [
        Backlog(context.children, platform, api, sender, number)
        for number, sender in enumerate(senders)
    ]
    # The models would be sent with the first backlog.
    platform.forget_emails()
    for backlog in backlogs:
        backlog.fill(context.scale.history_mails, without=QUEUE)
    return backlogs


async def _describe(connection: Connection, model_id: UUID, number: int) -> dict[str, str]:
    """A statement for each table that the model has rows in; $1 to $2 are the copies' numbers."""
    await connection.execute(_SCHEMA)
    models: dict[str, list[asyncpg.Record]] = {}
    for name, columns in await connection.fetch(_UUID_COLUMNS, _PARENT):
        is_of_model = " OR ".join(f"{column} = '{model_id}'" for column in columns)
        rows = await connection.fetch(f"SELECT * FROM {name} WHERE {is_of_model}")
        if rows:
            models[name] = list(rows)
            # Kept apart, for the model itself is sent, and then forgotten.
            await connection.execute(
                f"CREATE TABLE {_model(name, number)} AS SELECT * FROM {name} WHERE {is_of_model}"
            )
    own_ids = {row["id"]: None for rows in models.values() for row in rows if "id" in row}
    kinds = {id_: number * _KINDS + kind for kind, id_ in enumerate(own_ids)}
    return {
        name: await _insert_statement(connection, name, _model(name, number), rows, kinds)
        for name, rows in models.items()
    }


async def _insert_statement(
    connection: Connection,
    name: str,
    model: str,
    rows: Sequence[asyncpg.Record],
    kinds: dict[UUID, int],
) -> str:
    columns, values = [], []
    for column, type_ in await connection.fetch(_TYPES, name):
        value = f"m.{column}"
        present = {row[column] for row in rows}
        if present & kinds.keys():
            cases = " ".join(f"WHEN '{id_}' THEN bench.id({k}, n)" for id_, k in kinds.items())
            value = f"CASE m.{column} {cases} ELSE m.{column} END"
        elif any(isinstance(text, str) and MODEL_NUMBER in text for text in present):
            digits = len(MODEL_NUMBER)
            own = f"lpad(n::text, {digits}, '0')"
            value = f"replace(m.{column}::text, '{MODEL_NUMBER}', {own})::{type_}"
        columns.append(column)
        values.append(value)
    return (
        f"INSERT INTO {name} ({', '.join(columns)}) SELECT {', '.join(values)} "
        f"FROM {model} m CROSS JOIN generate_series($1::bigint, $2::bigint) AS n"
    )


def _model(name: str, number: int) -> str:
    return f"bench.model_{number}_{name}"
