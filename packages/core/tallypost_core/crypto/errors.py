"""What can go wrong with keys and ciphertexts; no message ever holds key or plain bytes.

These are faults of ours (a lost key, a damaged row), not of a caller, so they are no AppError:
whoever opens something says what that means there, and an edge that meets one answers 500.
"""


class CryptoError(Exception):
    """A key or a ciphertext cannot be used."""


class KeyRingError(CryptoError, ValueError):
    """The text of a key ring is malformed; `problems` has one line for each bad entry."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class UnknownKeyError(CryptoError):
    """A data key is wrapped by a ring key that is no longer in the settings."""

    def __init__(self, key_name: str) -> None:
        self.key_name = key_name
        super().__init__(f"no key named {key_name!r} in the key ring")


class DecryptError(CryptoError):
    """A ciphertext is damaged, or belongs to another key, tenant, table, column or row."""

    def __init__(self) -> None:
        super().__init__("the ciphertext does not open with this key and context")
