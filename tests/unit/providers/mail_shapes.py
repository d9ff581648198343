"""Emails in the shapes that large mailboxes see, the same ones in every run.

All people and addresses are invented and end in names that are reserved for examples and tests.
"""

import datetime as dt
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tallypost_providers.types import Attachment, DKIMKey, OutgoingEmail
from tests.unit.providers.emails import SENDING_DOMAIN, make_email, make_recipient

# A key that everybody knows, so that signatures can be kept in files too.
_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KNOWN_KEY = DKIMKey(
    domain=SENDING_DOMAIN,
    selector="known",
    algorithm="ed25519-sha256",
    private_key=_KEY.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ),
)
KNOWN_PUBLIC_KEY = _KEY.public_key().public_bytes_raw()
LARGE_BYTES = 10_000_000

_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6364f8"
    "cf500f0003060180 5a34e9fb0000000049454e44ae426082"
)
_EVERY_BYTE = bytes(range(256))
_ROW = (
    '      <tr><td align="left" style="padding:8px 16px;font:14px/20px Helvetica,Arial,sans-serif;'
    'color:#333333;border-bottom:1px solid #eeeeee"><a href="https://shop.example.com/p/{0}?utm_'
    'source=newsletter&amp;utm_medium=email&amp;utm_campaign=march" target="_blank">Article {0}</a>'
    '</td><td align="right" width="120">{0}.90 EUR</td></tr>'
)
_NEWSLETTER = "\n".join(
    [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>March</title></head>',
        '<body style="margin:0;padding:0;background:#f4f4f4">   ',
        '  <table role="presentation" width="600" cellpadding="0" cellspacing="0">',
        *(_ROW.format(number) for number in range(6)),
        "\t</table>",
        "</body></html>",
    ]
)
_MINIFIED = "<html><body>" + "".join(
    f'<p style="margin:0">Line {number} = {number * 7} &mdash; &copy;</p>' for number in range(60)
)


def _attachment(filename: str, body: bytes, **fields: Any) -> Attachment:
    fields.setdefault("content_type", "application/octet-stream")
    return Attachment(filename=filename, body=body, **fields)


_SHAPES: dict[str, dict[str, Any]] = {
    "only_text": {"text": "Your order 1042 is on its way.\n"},
    "only_html": {"text": None, "html": "<p>Your order 1042 is on its way.</p>"},
    "neither": {"text": None, "html": None},
    "empty_bodies": {"text": "", "html": ""},
    "newsletter": {
        "text": "March at the shop\n\nSix articles are new.\n",
        "html": _NEWSLETTER,
        "subject": "March: six new articles, free shipping until Sunday",
    },
    "minified_newsletter": {"html": _MINIFIED},
    "accents": {
        "subject": "Grüße aus Köln: Ihre Bestellung über 12 € ist unterwegs",
        "from_header": "Müller & Söhne (Köln) <post@" + SENDING_DOMAIN + ">",
        "html": "<p>Größe, Maß und Übermut: „ein Gruß“ aus Köln.</p>\n" * 20,
        "text": "L’été dernier, à Noël, « déjà vu » — ça va ?\n" * 3,
    },
    "emoji": {
        "subject": "🎉 Party 👩‍👩‍👧‍👦 tonight 🏳️‍🌈 " + "🎈" * 30,
        "to": ("Emoji 🎈 Person <ada@example.net>",),
        "html": "<h1>🎉🎈👩‍👩‍👧‍👦</h1>" * 30,
    },
    "right_to_left": {
        "subject": "ההזמנה שלך (מס׳ 1042) יצאה לדרך – تم شحن طلبك رقم ١٠٤٢",
        "to": ("دوّن المثال <ada@example.net>", "דוגמה לנמען <eve@example.net>"),
        "text": "ההזמנה שלך (מס׳ 1042) יצאה לדרך.\nتم شحن طلبك رقم ١٠٤٢ وهو في الطريق.\n",
        "html": '<p dir="rtl">ההזמנה שלך יצאה לדרך.</p>\n' * 3,
    },
    "east_asian": {
        "subject": "ご注文ありがとうございます。発送の準備をしています。您的订单已发货。",
        "from_header": "見本商店 <hello@例え.テスト>",
        "to": ("見本 太郎 <taro@例え.テスト>", "홍 길동 <gildong@example.net>"),
        "text": "주문해 주셔서 감사합니다. 곧 도착합니다.\n" * 5,
        "html": "<p>ご注文ありがとうございます。</p>" * 20,
    },
    "combining_marks": {
        "subject": "e\u0301 is one letter, ﷽ another, Z\u0351\u036b\u0343a\u0325\u0315 more",
        "text": "คำสั่งซื้อของคุณถูกจัดส่งแล้ว e\u0301\u0327\u0323\n",
    },
    "long_names": {
        "from_header": "A name so long that its line has to be folded " * 4 + "<a@example.com>",
        "to": (
            '"Sample, \\"The Quoted\\" Person; with (all) [specials] @ once" <ada@example.net>',
            "Пример Получателя с очень длинным именем " * 6 + "<eve@bücher.example>",
            "=?utf-8?B?w6k=?= <literally@example.net>",
        ),
        "subject": "word " * 60 + "end",
    },
    "fifty_recipients": {
        "to": tuple(f"Persön {number} <to-{number}@example.net>" for number in range(30)),
        "cc": tuple(f"cc-{number}@mail.example.org" for number in range(20)),
        "reply_to": ("Help <help@example.com>", "archive@example.com"),
    },
    "awkward_lines": {
        "text": (
            ".\n..\n.a line that starts with a dot\nFrom the start of a line\n>From\n"
            "ends with spaces   \nends with a tab\t\n\ttab\ttab\n=3D is no escape\n=\n"
            "--\n-- \nsignature\n"
            + "x" * 1500
            + "\n"
            + "From " * 30
            + "\n"
            + ("y" * 74 + " \n")
            + ("z" * 75 + "=\n")
            + ("w" * 76 + "\n")
            + "\n\n\n"
        ),
        "html": "From the start\n.\n<pre>" + "é" * 10 + " \t\n.\n</pre>" + "v" * 990 + "\n",
    },
    "plain_lines_at_the_limit": {"text": "From\n" + "a" * 990 + "\n..\n", "html": "b" * 991},
    "mixed_line_ends": {"text": "unix\ndos\r\nmac\rnone\n\r\r\n\n\rend", "html": "<p>\r</p>\r\n"},
    "control_characters": {
        "text": "bell \x07, form feed \x0c, escape \x1b[1m, delete \x7f, \x85\n"
    },
    "boundary_in_text": {
        "email_id": UUID("018e0000-0000-7000-8000-0000000000ff"),
        "text": "--=_018e00000000700080000000000000ff_0\n",
        "html": "<p>\n--=_018e00000000700080000000000000ff_0--\n",
    },
    "inline_images": {
        "html": '<img src="cid:logo"><img src="cid:photo@example.com">',
        "attachments": (
            _attachment("logo.png", _PIXEL, content_type="image/png", content_id="logo"),
            _attachment(
                "photo.png", _PIXEL, content_type="image/png", content_id="photo@example.com"
            ),
        ),
    },
    "everything_nested": {
        "html": '<img src="cid:logo">',
        "attachments": (
            _attachment("logo.png", _PIXEL, content_type="image/png", content_id="logo"),
            _attachment("every byte.bin", _EVERY_BYTE * 3),
            _attachment(
                "forwarded.eml",
                b"From: a@example.net\r\nBcc: b@example.net\r\nContent-Type: multipart/mixed; "
                b"boundary=x\r\n\r\n--x\r\n\r\n.\r\n--x--\r\n",
                content_type="message/rfc822",
            ),
            _attachment(
                "invite.ics",
                b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n",
                content_type='text/calendar; method=REQUEST; charset="utf-8"',
            ),
        ),
    },
    "empty_attachment": {"attachments": (_attachment("nothing.txt", b""),)},
    "file_names": {
        "attachments": tuple(
            _attachment(name, name.encode())
            for name in (
                "Übersicht März.xlsx",
                "счёт № 1042.docx",
                "請求書.pdf",
                "فاتورة.pdf",
                'semi;colon "and quotes" back\\slash.txt',
                "100% 'sure' *star*.txt",
                "a long name " * 12 + ".csv",
                "📎" * 30,
            )
        ),
    },
    "list_headers": {
        "headers": {
            "List-Unsubscribe": "<https://example.com/unsubscribe/" + "u" * 300 + ">, "
            "<mailto:unsubscribe@example.com?subject=stop>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "List-ID": "March letter <march.news.example.com>",
            "In-Reply-To": "<previous@example.com>",
            "References": " ".join(f"<message-{number}@example.com>" for number in range(40)),
            "X-Entity-Ref-ID": "42",
            "X-Note": "Größe XL, ✓",
            "X-Spaces": "two  spaces   three",
            "X-Empty": "",
        },
    },
}


def _with_known_ids(position: int, fields: dict[str, Any]) -> OutgoingEmail:
    return make_email(
        **{
            "tenant_id": UUID("018e0000-0000-7000-8000-00000000ffff"),
            "email_id": UUID(int=UUID("018e0000-0000-7000-8000-000000000000").int + position),
            "created_at": dt.datetime(2026, 3, 1, 9, 30, tzinfo=dt.UTC),
            "recipients": (make_recipient("ada@example.net"),),
            "dkim_keys": (KNOWN_KEY,),
            **fields,
        }
    )


SHAPES = {
    name: _with_known_ids(position, fields)
    for position, (name, fields) in enumerate(_SHAPES.items())
}
"""Small ones, each of which has a file in `golden/`."""


def large_email() -> OutgoingEmail:
    """An email with an attachment of LARGE_BYTES, which repeats every byte in every position."""
    body = _EVERY_BYTE + b"\r\n.\r\n"
    attachment = _attachment("large.bin", body * (LARGE_BYTES // len(body) + 1))
    return _with_known_ids(len(SHAPES), {"attachments": (attachment,)})
