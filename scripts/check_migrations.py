"""Fails where a migrated database differs from the models; run by `make migrations-check`."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tallypost_domain.db.migrate import upgrade
from tallypost_domain.schema import find_drift
from tests.support.servers import start_test_postgres


async def _migrate_and_compare(owner_url: str) -> list[str]:
    await upgrade(owner_url)
    return await find_drift(owner_url)


def main() -> None:
    """Migrate an empty database and compare it with the models."""
    with start_test_postgres() as server:
        drift = asyncio.run(_migrate_and_compare(server.url))
    if drift:
        sys.exit("The migrations do not make what the models say:\n" + "\n".join(drift))
    sys.stdout.write("Models and migrations agree\n")


if __name__ == "__main__":
    main()
