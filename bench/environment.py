"""Opens what every run needs: servers, a folder on a disk, and the end of all processes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.children import ROOT, Children
from bench.context import Context, Progress
from bench.platform import Cluster
from bench.scales import Scale
from bench.servers import running_postgres, running_redis

CACHE = ROOT / ".bench"
"""Where other mail systems are installed; git ignores it."""

# On a disk by convention, which the folder for temporary files often is not: there syncing would
# cost nothing.
_DATA_FOLDER = Path("/var/tmp")  # noqa: S108 - a folder of our own is made in it.


@contextmanager
def opened(scale: Scale) -> Iterator[Context]:
    """A context with migrated servers; every process and file of it is gone afterwards."""
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="tallypost-bench-", dir=_DATA_FOLDER) as name:
        folder = Path(name)
        # Other accounts, such as Postfix's, pass through it to what is theirs.
        folder.chmod(0o711)
        children = Children(folder)
        try:
            progress.say("starting PostgreSQL and Redis, migrating")
            with (
                running_postgres(children, folder / "postgres") as postgres,
                running_redis(children, folder / "redis") as redis_url,
            ):
                cluster = Cluster(postgres, redis_url, children)
                cluster.migrate()
                yield Context(scale, cluster, children, progress, CACHE)
        finally:
            children.close()
