"""Judges of our messages that nobody here wrote."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallypost_providers.dkim import dns_record
from tests.support.fake_dns import Zone, fake_dns, txt
from tests.support.node import require_node_package
from tests.support.rspamd import Rspamd, find_rspamd, running_rspamd
from tests.unit.providers.emails import SENDING_DOMAIN, keypair, make_dkim_key
from tests.unit.providers.read_messages import ReadAttachment, ReadMessage

SENDING_IP = "192.0.2.10"
"""The one server that may send for the sending domain."""

PARSER = "postal-mime@4.0.0"
READER = Path(__file__).with_name("read_mail.cjs")

SENDING_ZONE: Zone = {
    (SENDING_DOMAIN, "TXT"): [txt(f"v=spf1 ip4:{SENDING_IP} -all")],
    (f"_dmarc.{SENDING_DOMAIN}", "TXT"): [txt("v=DMARC1; p=reject; adkim=s; aspf=s")],
    (SENDING_DOMAIN, "MX"): [f"10 mail.{SENDING_DOMAIN}."],
    (f"mail.{SENDING_DOMAIN}", "A"): [SENDING_IP],
    **{
        (f"{key.selector}._domainkey.{key.domain}", "TXT"): [
            txt(dns_record(key.algorithm, keypair(key.algorithm).public_key))
        ]
        for key in (make_dkim_key("rsa-sha256"), make_dkim_key("ed25519-sha256"))
    },
}


class PostalMime:
    """A running postal-mime, a parser in another language by other people."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def read(self, message: bytes, headers: list[str]) -> ReadMessage:
        """The message as this parser sees it; headers are those to report."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(base64.b64encode(message).decode() + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the parser died on this message"
        found: dict[str, Any] = json.loads(line)
        values = dict(found["headers"])
        return ReadMessage(
            subject=found["subject"],
            sender=tuple(found["sender"]),
            to=[tuple(mailbox) for mailbox in found["to"]],
            cc=[tuple(mailbox) for mailbox in found["cc"]],
            reply_to=[tuple(mailbox) for mailbox in found["reply_to"]],
            text=found["text"],
            html=found["html"],
            attachments=[_attachment(part) for part in found["attachments"]],
            headers={name: values[name] for name in headers},
        )


@pytest.fixture(scope="session")
def postal_mime() -> Iterator[PostalMime]:
    """The parser, one process for all tests; skips where Node cannot be used."""
    modules = require_node_package(PARSER)
    process = subprocess.Popen(
        ["node", str(READER), str(modules)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
        text=True,
        encoding="utf-8",
    )
    with process:
        yield PostalMime(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="session")
def rspamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rspamd]:
    """rspamd, asking a DNS that knows the sending domain of the samples; skips where absent."""
    if find_rspamd() is None:
        pytest.skip("rspamd is not installed (on Debian: apt-get install rspamd)")
    with (
        fake_dns(SENDING_ZONE) as dns_port,
        running_rspamd(tmp_path_factory.mktemp("rspamd"), dns_port) as running,
    ):
        yield running


def _attachment(part: dict[str, Any]) -> ReadAttachment:
    return ReadAttachment(
        filename=part["filename"],
        content_type=part["content_type"],
        content_id=part["content_id"].strip("<>"),
        body=base64.b64decode(part["body"]),
    )
