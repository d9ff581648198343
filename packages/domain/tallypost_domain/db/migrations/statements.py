"""Runs the SQL scripts of a migration; they stand in files so that they read as SQL."""

from importlib import resources

from sqlalchemy import Connection


def run_script(connection: Connection, name: str) -> None:
    """Run one script of `migrations/versions`, statement by statement.

    Statements end with a semicolon at the end of a line; function bodies are quoted with `$$`
    and may hold semicolons.
    """
    script = resources.files("tallypost_domain.db.migrations.versions").joinpath(name)
    for statement in split_statements(script.read_text(encoding="utf-8")):
        connection.exec_driver_sql(statement)


def split_statements(script: str) -> list[str]:
    """Split a script at semicolons that end a line outside `$$` quotes; drops comment lines."""
    statements: list[str] = []
    lines: list[str] = []
    in_body = False
    for line in script.splitlines():
        if not in_body and (not line.strip() or line.lstrip().startswith("--")):
            continue
        lines.append(line)
        if line.count("$$") % 2:
            in_body = not in_body
        if not in_body and line.rstrip().endswith(";"):
            statements.append("\n".join(lines))
            lines = []
    if lines:
        raise ValueError(f"unfinished statement: {lines[0]}")
    return statements
