"""The sink that the bench measures with: what it takes, refuses and notes."""

import asyncio
import http.client
import smtplib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from bench import mail
from bench.anchors import bare_http
from bench.children import Children
from bench.sinks import OwnSink, http_sink, own_sink
from bench.smtp_sink import SinkJob
from tallypost_providers.types import Outcome
from tests.support.sendgrid import make_provider
from tests.support.smtp_peers import make_certificate

SENDER, RECIPIENT = "hello@example.com", "somebody@example.net"


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Starts processes and ends them with the test."""
    children = Children(tmp_path)
    yield children
    children.close()


def connect(sink: OwnSink) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", sink.port, timeout=10)


def message(email_id: str) -> str:
    return f"Subject: hello\r\nX-Tallypost-Email-Id: {email_id}\r\n\r\n.a line with a dot\r\n"


def test_it_counts_what_it_took_and_forgets_it_on_request(children: Children) -> None:
    with own_sink(children, SinkJob()) as sink, connect(sink) as client:
        for _ in range(3):
            client.sendmail(SENDER, RECIPIENT, message("1"))
        arrivals = sink.arrivals()
        assert (arrivals.taken, arrivals.refused) == (3, 0)
        assert 0 < arrivals.first_s <= arrivals.last_s
        sink.reset()
        client.sendmail(SENDER, RECIPIENT, message("1"))
        assert sink.arrivals().taken == 1


def test_it_notes_when_each_email_came_first(children: Children) -> None:
    with own_sink(children, SinkJob(keeps_ids=True)) as sink, connect(sink) as client:
        client.sendmail(SENDER, RECIPIENT, message("one"))
        first = sink.arrivals().arrived["one"]
        client.sendmail(SENDER, RECIPIENT, message("one"))
        client.sendmail(SENDER, RECIPIENT, message("two"))
        arrived = sink.arrivals().arrived
        assert arrived.keys() == {"one", "two"}
        assert arrived["one"] == first < arrived["two"]


def test_it_refuses_its_share_half_for_good_and_half_for_now(children: Children) -> None:
    codes = []
    with own_sink(children, SinkJob(refused_share=0.5)) as sink, connect(sink) as client:
        for _ in range(100):
            try:
                client.sendmail(SENDER, RECIPIENT, message("1"))
            except smtplib.SMTPRecipientsRefused as refusal:
                codes += [code for code, _ in refusal.recipients.values()]
        arrivals = sink.arrivals()
    assert arrivals.done == 100
    assert arrivals.refused == len(codes)
    assert abs(codes.count(550) - codes.count(451)) <= 1
    assert codes


def test_commands_that_come_together_are_answered_in_their_order(children: Children) -> None:
    job = SinkJob(least_delay_s=0.001, most_delay_s=0.01)
    with own_sink(children, job) as sink, connect(sink) as client:
        client.ehlo()
        for _ in range(20):
            client.send(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode())
            assert [client.getreply()[0] for _ in range(3)] == [250, 250, 354]
            client.send(b"Subject: hello\r\n\r\nhello\r\n.\r\nRSET\r\n")
            assert [client.getreply()[0] for _ in range(2)] == [250, 250]
        assert sink.arrivals().taken == 20


def test_with_a_certificate_nothing_is_taken_before_starttls(
    children: Children, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.certificate_file.read_bytes() + certificate.key_file.read_bytes())
    context = ssl.create_default_context(cafile=str(certificate.certificate_file))
    with own_sink(children, SinkJob(certificate_file=str(both))) as sink:
        with connect(sink) as client, pytest.raises(smtplib.SMTPException):
            client.sendmail(SENDER, RECIPIENT, message("1"))
        with smtplib.SMTP("localhost", sink.port, timeout=10) as client:
            client.starttls(context=context)
            client.sendmail(SENDER, RECIPIENT, message("1"))
        assert sink.arrivals().taken == 1


def test_sink_of_an_http_api_counts_requests_on_kept_connections(children: Children) -> None:
    with http_sink(children) as sink:
        client = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=10)
        for body in (b"{}", b"x" * 200_000):
            client.request("POST", "/v3/mail/send", body=body)
            response = client.getresponse()
            assert (response.status, response.read()) == (202, b"")
        client.close()
        assert sink.arrivals().taken == 2
        sink.reset()
        assert sink.arrivals().taken == 0


def test_sink_of_an_http_api_counts_no_request_but_mail(children: Children) -> None:
    with http_sink(children) as sink:
        client = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=10)
        for method, path, body in (
            ("POST", "/v3/mail/send", "{}"),
            ("GET", "/v3/whitelabel/domains?domain=example.com", None),
            ("POST", "/v3/whitelabel/domains", "{}"),
            ("POST", "/v3/mail/send", "{}"),
        ):
            client.request(method, path, body=body)
            client.getresponse().read()
        client.close()
        assert sink.arrivals().taken == 2


def test_bare_client_posts_what_it_was_told(children: Children) -> None:
    with http_sink(children) as sink:
        url = f"http://127.0.0.1:{sink.port}/v3/mail/send"
        posted = bare_http.measure(children, bare_http.PostJob(url, 50, 4))
        assert sink.arrivals().taken == 50
    assert posted.rate > 0
    assert posted.cpu_us > 0


def test_bare_client_posts_the_body_that_the_adapter_makes(children: Children) -> None:
    with kept_bodies() as (url, bodies):
        bare_http.measure(children, bare_http.PostJob(f"{url}/v3/mail/send", 1, 1))
        asyncio.run(hand_over(url))
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]


async def hand_over(url: str) -> None:
    """The same email by the adapter."""
    provider = make_provider(url)
    try:
        result = await provider.send(mail.outgoing(SENDER, RECIPIENT), timeout_s=10)
    finally:
        await provider.close()
    assert [recipient.outcome for recipient in result.recipients] == [Outcome.ACCEPTED]


@contextmanager
def kept_bodies() -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers as Mail Send does, and the bodies that it got."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(202)
            self.send_header("X-Message-Id", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            thread.join()
