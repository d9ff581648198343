"""A second parser, postal-mime, reads in our messages what the emails said."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tallypost_providers.message import render
from tallypost_providers.types import Attachment
from tests.contract.mail.conftest import PostalMime
from tests.unit.providers.emails import make_email
from tests.unit.providers.mail_shapes import SHAPES, large_email
from tests.unit.providers.mail_strategies import BODIES, FILENAMES, VISIBLE
from tests.unit.providers.read_messages import ReadMessage, expected

# The process of the parser is shared by all examples, which is its point.
PATIENT = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


# This parser takes encoded words for such even where RFC 2231 has encoded them once more.
PLAIN_FILENAMES = FILENAMES.filter(lambda name: "=?" not in name)


def comparable(message: ReadMessage) -> ReadMessage:
    """Less what this parser changes: line ends, those at the end of a text, and calendars'."""
    return replace(
        message,
        text=message.text.replace("\r\n", "\n").rstrip("\n"),
        html=message.html.replace("\r\n", "\n").rstrip("\n"),
        attachments=[
            replace(part, body=part.body.replace(b"\r\n", b"\n"))
            if part.content_type == "text/calendar"
            else part
            for part in message.attachments
        ],
    )


@pytest.mark.parametrize("name", SHAPES)
def test_parser_reads_what_was_written(postal_mime: PostalMime, name: str) -> None:
    email = SHAPES[name]
    read = postal_mime.read(render(email), [*email.headers])
    assert comparable(read) == comparable(expected(email))


def test_ten_megabytes_come_back_whole(postal_mime: PostalMime) -> None:
    email = large_email()
    assert comparable(postal_mime.read(render(email), [])) == comparable(expected(email))


@given(
    BODIES,
    BODIES,
    VISIBLE,
    st.lists(st.tuples(PLAIN_FILENAMES, st.binary(max_size=300)), max_size=3),
)
@PATIENT
def test_parser_reads_whatever_was_written(
    postal_mime: PostalMime, text: str, html: str, subject: str, files: list[tuple[str, bytes]]
) -> None:
    email = make_email(
        subject=subject,
        text=text,
        html=html,
        attachments=tuple(
            Attachment(filename=name, content_type="application/zip", body=body)
            for name, body in files
        ),
    )
    assert comparable(postal_mime.read(render(email), [])) == comparable(expected(email))
