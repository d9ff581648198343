"""Bodies arrive whole and within their budget, however they are packed and cut."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_resilience.egress_bodies import ByteBudget, read_body
from tallypost_resilience.egress_rules import EgressFailed, EgressTooLarge

BODIES = st.binary(max_size=200) | st.integers(0, 300_000).map(bytes)


def read(body: bytes, encoding: str, limit_bytes: int, chunk_bytes: int = 1_000_000) -> bytes:
    """The body as it comes out, having gone in by chunks."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), chunk_bytes):
            yield body[start : start + chunk_bytes]

    return asyncio.run(read_body(chunks(), encoding, ByteBudget(limit_bytes)))


@given(BODIES, st.integers(50, 500), st.sampled_from(["", "identity", " Identity "]))
def test_plain_body_arrives_unchanged(body: bytes, chunk_bytes: int, encoding: str) -> None:
    assert read(body, encoding, len(body), chunk_bytes) == body


@given(st.lists(BODIES, min_size=1, max_size=3), st.integers(1, 500))
def test_gzip_of_one_or_more_members_is_unpacked(bodies: list[bytes], chunk_bytes: int) -> None:
    whole = b"".join(bodies)
    packed = b"".join(gzip.compress(body) for body in bodies)
    assert read(packed, "gzip", len(whole), chunk_bytes) == whole


@given(BODIES.filter(bool), st.integers(50, 500), st.booleans())
def test_one_byte_above_the_budget_is_too_much(
    body: bytes, chunk_bytes: int, is_packed: bool
) -> None:
    sent, encoding = (gzip.compress(body), "gzip") if is_packed else (body, "")
    with pytest.raises(EgressTooLarge):
        read(sent, encoding, len(body) - 1, chunk_bytes)


@given(BODIES, st.data())
def test_gzip_that_breaks_off_is_no_answer(body: bytes, data: st.DataObject) -> None:
    packed = gzip.compress(body)
    cut = data.draw(st.integers(1, len(packed) - 1))
    with pytest.raises(EgressFailed):
        read(packed[:cut], "gzip", len(body))


@given(BODIES, st.binary(min_size=1, max_size=20))
def test_what_follows_a_gzip_must_be_one(body: bytes, garbage: bytes) -> None:
    with pytest.raises(EgressFailed):
        read(gzip.compress(body) + garbage, "gzip", 1_000_000)


def test_packed_bytes_that_unpack_to_nothing_are_bounded_too() -> None:
    with pytest.raises(EgressTooLarge):
        read(gzip.compress(b"") * 10_000, "gzip", 1000)


def test_empty_body_may_call_itself_compressed() -> None:
    assert read(b"", "gzip", 0) == b""


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "deflate", "gzip, gzip", "?"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(EgressFailed):
        read(b"x", encoding, 100)


def test_budget_is_shared_by_all_who_spend_from_it() -> None:
    budget = ByteBudget(10)
    budget.spend(4)
    budget.spend(6)
    with pytest.raises(EgressTooLarge):
        budget.spend(1)
    assert budget.left_bytes == 0
