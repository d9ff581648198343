"""Sends the corpus as a customer's program does: with the official Python client, in threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import cast
from uuid import UUID

import resend

from tests.support.corpus import Sample, build

_THREADS = 4
_BATCH = 20


def send_all(samples: list[Sample], domain: str) -> dict[UUID, Sample]:
    """Send emails, singly and in batches by turns; tells which one each id is."""

    def send(group: list[Sample]) -> list[tuple[UUID, Sample]]:
        # The corpus is built from its own data; the client's TypedDict describes it.
        requests = cast(
            "list[resend.Emails.SendParams]", [build(sample, domain) for sample in group]
        )
        if len(requests) == 1:
            ids = [resend.Emails.send(requests[0])["id"]]
        else:
            ids = [item["id"] for item in resend.Batch.send(requests)["data"]]
        return list(zip(map(UUID, ids), group, strict=True))

    with ThreadPoolExecutor(_THREADS) as threads:
        return dict(pair for pairs in threads.map(send, _groups(samples)) for pair in pairs)


def _groups(samples: list[Sample]) -> Iterator[list[Sample]]:
    # Large ones go alone: a batch of them would pass what one request may weigh.
    yield from ([sample] for sample in samples if sample.is_large)
    others = iter([sample for sample in samples if not sample.is_large])
    while batch := list(islice(others, _BATCH)):
        yield batch
        yield from ([sample] for sample in islice(others, _BATCH))
