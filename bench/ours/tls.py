"""Delivering over STARTTLS, against the same in plain text to the same sink."""

import datetime as dt
import ipaddress
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench import compare
from bench.context import Context
from bench.lines import Line, Outcome
from bench.ours.backlog import Backlog, make_backlog
from bench.ours.drain import drain, size_for
from bench.platform import Platform
from bench.rounds import Rounds
from bench.sinks import own_sink
from bench.smtp_sink import SinkJob

_LINE = Line(
    name="delivery-tls-vs-plain",
    floor=0.5,
    goal=0.7,
    says="delivered a second over STARTTLS, RSA-2048, 1 worker / in plain text",
)
LINES = (_LINE,)


def run(context: Context) -> list[Outcome]:
    """Measure both in turn; each has a worker of its own, started for each measurement."""
    rounds, certificate = Rounds(), context.folder / "sink.pem"
    _make_certificate(certificate)
    encrypted: Mapping[str, str] = {
        "TALLYPOST_SMTP_HOST": "localhost",
        "TALLYPOST_SMTP_SECURITY": "starttls",
        "SSL_CERT_FILE": str(certificate),
    }
    jobs = {"plain": SinkJob(), "tls": SinkJob(certificate_file=str(certificate))}
    settings = {"plain": {}, "tls": encrypted}
    with context.cluster.database("tls", context.folder) as platform, platform.api() as api:
        backlog = make_backlog(context, platform, api, platform.add_sender("example.com"))
        count = context.scale.pilot_mails
        for name, job in jobs.items():
            context.say(f"tls: pilot, {name}")
            rate = _rate(context, platform, backlog, job, settings[name], count)
            count = max(count, size_for(context, rate))
        for _ in context.rounds("tls"):
            for name, job in jobs.items():
                rounds.note(name, _rate(context, platform, backlog, job, settings[name], count))
    context.report("tls", rounds)
    return [compare.ratio(_LINE, rounds, "tls", "plain")]


def _rate(
    context: Context,
    platform: Platform,
    backlog: Backlog,
    job: SinkJob,
    settings: Mapping[str, str],
    count: int,
) -> float:
    with (
        own_sink(context.children, job) as sink,
        platform.workers(1, sink.port, **settings) as workers,
    ):
        return drain(context, platform, backlog, sink, workers, count).rate


def _make_certificate(path: Path) -> None:
    """Sign a certificate for localhost with its own key; both go into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.touch(mode=0o600)
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
