"""Hashing and comparing passwords."""

import argon2
import pytest

from tallypost_domain.people import passwords


async def test_right_password_matches_and_others_do_not() -> None:
    stored = await passwords.hash_password("correct horse battery")
    assert await passwords.verify_password(stored, "correct horse battery")
    assert not await passwords.verify_password(stored, "correct horse batteries")


async def test_one_password_has_two_hashes() -> None:
    password = "correct horse battery"
    assert await passwords.hash_password(password) != await passwords.hash_password(password)


@pytest.mark.parametrize("password", ["", "correct horse battery"])
async def test_nobody_has_any_password(password: str) -> None:
    assert not await passwords.verify_password(None, password)


async def test_comparing_with_nobody_costs_what_comparing_with_somebody_costs() -> None:
    stored = await passwords.hash_password("correct horse battery")
    nobodys = passwords._NOBODYS_HASH
    assert argon2.extract_parameters(nobodys) == argon2.extract_parameters(stored)
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        argon2.PasswordHasher().verify(nobodys, "anything")


async def test_damaged_hash_matches_nothing() -> None:
    assert not await passwords.verify_password("not a hash", "correct horse battery")
