"""What one process can compute: RSA signatures, and our own messages built and signed."""

import sys
import time
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from msgspec import Struct

from bench import mail
from bench.children import Children
from tallypost_providers.dkim import Algorithm, generate_keypair
from tallypost_providers.message import render
from tallypost_providers.types import DKIMKey

_GRACE_S = 30.0
_CALLS_BETWEEN_LOOKS = 10


class CryptoJob(Struct, frozen=True):
    """How long each of the rates is taken."""

    seconds: float
    with_messages: bool
    """Also measures our own messages, built and signed, which judge nothing."""


class Rates(Struct, frozen=True, kw_only=True):
    """Calls a second of one thread."""

    rsa_signs: float
    unsigned: float = 0.0
    signed_ed25519: float = 0.0
    signed_rsa: float = 0.0


def measure(children: Children, seconds: float, *, with_messages: bool = False) -> Rates:
    """Measure in a process of its own."""
    job = CryptoJob(seconds, with_messages)
    answer = children.ask("bench.anchors.crypto", job, within_s=4 * seconds + _GRACE_S)
    return msgspec.json.decode(answer, type=Rates)


def _measure(job: CryptoJob) -> Rates:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    data = b"x" * 300
    signs = _rate(lambda: key.sign(data, padding.PKCS1v15(), hashes.SHA256()), job.seconds)
    if not job.with_messages:
        return Rates(rsa_signs=signs)
    return Rates(
        rsa_signs=signs,
        unsigned=_message_rate(job.seconds),
        signed_ed25519=_message_rate(job.seconds, "ed25519-sha256"),
        signed_rsa=_message_rate(job.seconds, "rsa-sha256"),
    )


def _message_rate(seconds: float, *algorithms: Algorithm) -> float:
    keys = tuple(_key(algorithm) for algorithm in algorithms)
    email = mail.outgoing("hello@example.com", "somebody@example.net", keys)
    return _rate(lambda: render(email), seconds)


def _key(algorithm: Algorithm) -> DKIMKey:
    private_key, _ = generate_keypair(algorithm)
    return DKIMKey(
        domain="example.com", selector="tp1", algorithm=algorithm, private_key=private_key
    )


def _rate(call: Callable[[], object], seconds: float) -> float:
    call()
    count = 0
    started_s = now_s = time.perf_counter()
    while now_s - started_s < seconds:
        for _ in range(_CALLS_BETWEEN_LOOKS):
            call()
        count += _CALLS_BETWEEN_LOOKS
        now_s = time.perf_counter()
    return count / (now_s - started_s)


def main() -> None:
    """Do the job of the first argument; the rates go to standard output as JSON."""
    job = msgspec.json.decode(sys.argv[1], type=CryptoJob)
    sys.stdout.buffer.write(msgspec.json.encode(_measure(job)))


if __name__ == "__main__":
    main()
