"""Opaque tokens for sessions and the like; stored only as `hash_secret` of them."""

import secrets

TOKEN_SIZE_BYTES = 32


def new_token() -> str:
    """A token of 256 random bits in 43 characters that are safe in URLs and cookies."""
    return secrets.token_urlsafe(TOKEN_SIZE_BYTES)
