"""HTML bodies made fit for a frame."""

from tallypost_console.previews import MAX_BODY_CHARS, MAX_IMAGES_CHARS, preview
from tallypost_domain.inbox.types import MessageContents, MessagePart

IMAGE = MessagePart(None, "image/png", "logo@example.com", b"PNG")


def contents(html: str | None, *parts: MessagePart) -> MessageContents:
    return MessageContents(headers=(), text=None, html=html, parts=parts)


def test_message_without_html_has_no_preview() -> None:
    assert preview(contents(None)) is None


def test_body_that_is_too_large_has_no_preview() -> None:
    assert preview(contents("x" * MAX_BODY_CHARS)) is not None
    assert preview(contents("x" * (MAX_BODY_CHARS + 1))) is None


def test_policy_stands_before_anything_of_the_sender() -> None:
    document = preview(contents("</head><meta http-equiv=x><p>Hello</p>"))
    assert document is not None
    assert document.index("Content-Security-Policy") < document.index("</head>")


def test_inline_image_is_put_into_the_document() -> None:
    document = preview(contents('<img src="cid:logo@example.com">', IMAGE))
    assert document is not None
    assert document.endswith('<img src="data:image/png;base64,UE5H">')


def test_unknown_image_stays_as_it_is() -> None:
    document = preview(contents('<img src="cid:other">', IMAGE))
    assert document is not None
    assert document.endswith('<img src="cid:other">')


def test_part_that_is_no_image_is_not_put_in() -> None:
    for content_type in ("text/html", 'image/png"><script>'):
        part = MessagePart(None, content_type, "logo@example.com", b"<script>")
        document = preview(contents('<img src="cid:logo@example.com">', part))
        assert document is not None
        assert document.endswith('<img src="cid:logo@example.com">')


def test_one_image_used_often_does_not_blow_up_the_page() -> None:
    large = MessagePart(None, "image/png", "logo", b"x" * (MAX_IMAGES_CHARS // 2))
    document = preview(contents('<img src="cid:logo">' * 1000, large))
    assert document is not None
    assert document.count("data:image/png") == 2 - 1
    assert len(document) < MAX_IMAGES_CHARS + MAX_BODY_CHARS
