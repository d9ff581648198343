"""Encrypted columns: they open in their own place and nowhere else."""

from dataclasses import replace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import assume, given
from hypothesis import strategies as st

from tallypost_core.crypto import Context, DataKey, DecryptError, decrypt, encrypt

TENANT = UUID(int=1)
OTHER_TENANT = UUID(int=2)
# One key for both tenants: what separates them here is the bound context alone.
SHARED_KEY = AESGCM(b"k" * 32)
KEY = DataKey(TENANT, SHARED_KEY)
PLACE = Context(TENANT, "domains", "private_key", UUID(int=3))

NAMES = st.text(max_size=20)
CONTEXTS = st.builds(Context, st.just(TENANT), NAMES, NAMES, st.uuids())


@given(st.binary(max_size=4096), CONTEXTS)
def test_value_comes_back_unchanged(plaintext: bytes, place: Context) -> None:
    assert decrypt(KEY, encrypt(KEY, plaintext, place), place) == plaintext


@given(CONTEXTS, CONTEXTS)
def test_value_opens_in_no_other_place(place: Context, other: Context) -> None:
    assume(place != other)
    sealed = encrypt(KEY, b"value", place)
    with pytest.raises(DecryptError):
        decrypt(KEY, sealed, other)


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, table="webhooks"),
        replace(PLACE, column="public_key"),
        replace(PLACE, row_id=UUID(int=4)),
        # The same letters with the border between table and column moved.
        replace(PLACE, table="domainsp", column="rivate_key"),
        replace(PLACE, table="", column="domainsprivate_key"),
    ],
    ids=["table", "column", "row", "moved border", "empty table"],
)
def test_each_part_of_the_place_is_bound(other: Context) -> None:
    sealed = encrypt(KEY, b"value", PLACE)
    with pytest.raises(DecryptError):
        decrypt(KEY, sealed, other)


def test_value_does_not_open_for_another_tenant_even_with_the_same_key() -> None:
    sealed = encrypt(KEY, b"value", PLACE)
    other = DataKey(OTHER_TENANT, SHARED_KEY)
    with pytest.raises(DecryptError):
        decrypt(other, sealed, replace(PLACE, tenant_id=OTHER_TENANT))


def test_value_does_not_open_with_another_key_of_the_tenant() -> None:
    sealed = encrypt(KEY, b"value", PLACE)
    with pytest.raises(DecryptError):
        decrypt(DataKey(TENANT, AESGCM(b"o" * 32)), sealed, PLACE)


def test_key_of_another_tenant_is_refused_for_encryption() -> None:
    with pytest.raises(ValueError, match="another tenant"):
        encrypt(DataKey(OTHER_TENANT, SHARED_KEY), b"value", PLACE)


def test_key_of_another_tenant_is_refused_for_decryption() -> None:
    sealed = encrypt(KEY, b"value", PLACE)
    with pytest.raises(DecryptError):
        decrypt(DataKey(OTHER_TENANT, SHARED_KEY), sealed, PLACE)


@given(st.binary(max_size=64), st.data())
def test_any_changed_byte_is_noticed(plaintext: bytes, data: st.DataObject) -> None:
    damaged = bytearray(encrypt(KEY, plaintext, PLACE))
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecryptError):
        decrypt(KEY, bytes(damaged), PLACE)


@given(st.binary(max_size=64), st.data())
def test_any_missing_end_is_noticed(plaintext: bytes, data: st.DataObject) -> None:
    sealed = encrypt(KEY, plaintext, PLACE)
    with pytest.raises(DecryptError):
        decrypt(KEY, sealed[: data.draw(st.integers(0, len(sealed) - 1))], PLACE)


def test_unknown_version_is_refused() -> None:
    sealed = encrypt(KEY, b"value", PLACE)
    assert sealed[0] == 1
    with pytest.raises(DecryptError):
        decrypt(KEY, b"\x02" + sealed[1:], PLACE)


def test_equal_values_give_different_ciphertexts() -> None:
    assert len({encrypt(KEY, b"value", PLACE) for _ in range(100)}) == 100


def test_ciphertext_is_29_bytes_longer_than_the_value() -> None:
    assert len(encrypt(KEY, b"value", PLACE)) == 5 + 29
