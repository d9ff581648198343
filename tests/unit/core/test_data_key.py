"""Data keys: wrapped by the ring, bound to one tenant, moved to newer ring keys."""

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_core.crypto import (
    Context,
    DecryptError,
    KeyRing,
    UnknownKeyError,
    WrappedKey,
    decrypt,
    encrypt,
    new_data_key,
    rewrap_data_key,
    unwrap_data_key,
)
from tallypost_core.ids import new_id

TENANT = UUID("0192e4a0-0000-7000-8000-000000000001")
OTHER_TENANT = UUID("0192e4a0-0000-7000-8000-000000000002")


def ring_of(*names: str) -> KeyRing:
    return KeyRing.from_setting(
        ",".join(f"{name}:{base64.b64encode(name[:1].encode() * 32).decode()}" for name in names)
    )


def context(tenant_id: UUID = TENANT) -> Context:
    return Context(tenant_id, "domains", "private_key", tenant_id)


def test_unwrapped_key_opens_what_it_encrypted_before() -> None:
    ring = ring_of("a")
    stored = new_data_key(ring, TENANT)
    sealed = encrypt(unwrap_data_key(ring, TENANT, stored), b"value", context())
    assert decrypt(unwrap_data_key(ring, TENANT, stored), sealed, context()) == b"value"


def test_each_data_key_is_a_fresh_one() -> None:
    ring = ring_of("a")
    first, second = (unwrap_data_key(ring, TENANT, new_data_key(ring, TENANT)) for _ in range(2))
    with pytest.raises(DecryptError):
        decrypt(second, encrypt(first, b"value", context()), context())


def test_wrapped_key_does_not_open_for_another_tenant() -> None:
    ring = ring_of("a")
    with pytest.raises(DecryptError):
        unwrap_data_key(ring, OTHER_TENANT, new_data_key(ring, TENANT))


def test_new_keys_are_wrapped_by_the_newest_ring_key() -> None:
    assert new_data_key(ring_of("b", "a"), TENANT).key_name == "b"


def test_older_ring_key_still_unwraps() -> None:
    stored = new_data_key(ring_of("a"), TENANT)
    sealed = encrypt(unwrap_data_key(ring_of("a"), TENANT, stored), b"value", context())
    assert decrypt(unwrap_data_key(ring_of("b", "a"), TENANT, stored), sealed, context())


def test_ring_without_the_key_says_which_name_is_missing() -> None:
    stored = new_data_key(ring_of("a"), TENANT)
    with pytest.raises(UnknownKeyError, match="'a'"):
        unwrap_data_key(ring_of("b"), TENANT, stored)


def test_rewrapped_key_no_longer_needs_the_old_ring_key() -> None:
    stored = new_data_key(ring_of("a"), TENANT)
    sealed = encrypt(unwrap_data_key(ring_of("a"), TENANT, stored), b"value", context())
    moved = rewrap_data_key(ring_of("b", "a"), TENANT, stored)
    assert moved.key_name == "b"
    assert decrypt(unwrap_data_key(ring_of("b"), TENANT, moved), sealed, context()) == b"value"


def test_rewrapping_under_the_newest_key_changes_nothing() -> None:
    stored = new_data_key(ring_of("b", "a"), TENANT)
    assert rewrap_data_key(ring_of("b", "a"), TENANT, stored) is stored


def test_rewrapping_for_another_tenant_fails() -> None:
    stored = new_data_key(ring_of("a"), TENANT)
    with pytest.raises(DecryptError):
        rewrap_data_key(ring_of("b", "a"), OTHER_TENANT, stored)


@given(st.data())
def test_any_changed_byte_of_a_wrapped_key_is_noticed(data: st.DataObject) -> None:
    ring = ring_of("a")
    stored = new_data_key(ring, TENANT)
    damaged = bytearray(stored.wrapped)
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecryptError):
        unwrap_data_key(ring, TENANT, WrappedKey("a", bytes(damaged)))


def test_key_bytes_do_not_show_in_repr() -> None:
    ring = ring_of("a")
    tenant_id = new_id()
    stored = new_data_key(ring, tenant_id)
    assert repr(stored) == "WrappedKey(key_name='a')"
    assert repr(unwrap_data_key(ring, tenant_id, stored)) == f"DataKey(tenant_id={tenant_id})"
