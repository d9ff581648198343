"""Keyed hashes: stable, keyed by the newest pepper, found again during a rotation."""

import base64
import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from tallypost_core.crypto import KeyRing, hash_candidates, hash_secret

OLD = f"old:{base64.b64encode(b'o' * 32).decode()}"
NEW = f"new:{base64.b64encode(b'n' * 32).decode()}"


@given(st.text())
def test_hash_is_hmac_sha256_of_the_newest_pepper(secret: str) -> None:
    expected = hmac.new(b"n" * 32, secret.encode(), hashlib.sha256).digest()
    assert hash_secret(KeyRing.from_setting(f"{NEW},{OLD}"), secret) == expected


def test_hash_made_before_a_rotation_is_among_the_candidates_after_it() -> None:
    stored = hash_secret(KeyRing.from_setting(OLD), "secret")
    candidates = hash_candidates(KeyRing.from_setting(f"{NEW},{OLD}"), "secret")
    assert candidates[1] == stored
    assert candidates[0] == hash_secret(KeyRing.from_setting(NEW), "secret")


def test_dropped_pepper_finds_nothing() -> None:
    stored = hash_secret(KeyRing.from_setting(OLD), "secret")
    assert stored not in hash_candidates(KeyRing.from_setting(NEW), "secret")


def test_text_that_is_no_valid_unicode_is_hashed_rather_than_refused() -> None:
    assert len(hash_candidates(KeyRing.from_setting(NEW), "\ud800")) == 1
