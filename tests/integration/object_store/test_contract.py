"""What both stores promise, tested against a real folder and against an S3 server."""

import asyncio

import pytest

from tallypost_core.object_store import ObjectNotFound, ObjectStore

KEY = "0192e4a0-0000-7000-8000-000000000001/0192e4a0-0000-7000-8000-000000000002/1"
OTHER_TENANTS_KEY = KEY.replace("8000-000000000001", "8000-000000000009")


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00", bytes(range(256)) * 4096, b"\r\n.\r\n"],
    ids=["empty", "zero byte", "1 MiB of all bytes", "lines"],
)
async def test_body_comes_back_unchanged(store: ObjectStore, body: bytes) -> None:
    await store.put(KEY, body)
    assert await store.get(KEY) == body


async def test_missing_object_is_a_typed_error(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound, match=KEY):
        await store.get(KEY)


async def test_putting_again_changes_nothing(store: ObjectStore) -> None:
    for _ in range(3):
        await store.put(KEY, b"body")
    assert await store.get(KEY) == b"body"


async def test_last_put_wins(store: ObjectStore) -> None:
    await store.put(KEY, b"a much longer first body")
    await store.put(KEY, b"second")
    assert await store.get(KEY) == b"second"


async def test_deleted_object_is_gone(store: ObjectStore) -> None:
    await store.put(KEY, b"body")
    await store.delete(KEY)
    with pytest.raises(ObjectNotFound):
        await store.get(KEY)


async def test_deleting_what_is_not_there_is_fine(store: ObjectStore) -> None:
    await store.delete(KEY)
    await store.put(KEY, b"body")
    await store.delete(KEY)
    await store.delete(KEY)


async def test_keys_do_not_touch_each_other(store: ObjectStore) -> None:
    await store.put(KEY, b"ours")
    await store.put(OTHER_TENANTS_KEY, b"theirs")
    await store.delete(OTHER_TENANTS_KEY)
    assert await store.get(KEY) == b"ours"


async def test_concurrent_puts_leave_one_whole_body(store: ObjectStore) -> None:
    bodies = [bytes([number]) * 100_000 for number in range(10)]
    await asyncio.gather(*(store.put(KEY, body) for body in bodies))
    assert await store.get(KEY) in bodies


async def test_many_objects_at_once(store: ObjectStore) -> None:
    keys = [f"{KEY}/{number}" for number in range(50)]
    await asyncio.gather(*(store.put(key, key.encode()) for key in keys))
    assert await asyncio.gather(*(store.get(key) for key in keys)) == [key.encode() for key in keys]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../outside",
        "a/../../outside",
        "a/./b",
        "a//b",
        "a/",
        ".incoming/a",
        "a\\..\\b",
        "a\0b",
        "a b",
        "a\n",
        "%2e%2e/a",
        "é",
        "a" * 201,
        "/".join(["a" * 100] * 6),
    ],
)
async def test_malformed_key_is_refused_by_every_operation(store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="malformed object key"):
        await store.put(key, b"body")
    with pytest.raises(ValueError, match="malformed object key"):
        await store.get(key)
    with pytest.raises(ValueError, match="malformed object key"):
        await store.delete(key)
