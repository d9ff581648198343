"""Emails of many real shapes, the same ones in every run: number i always looks the same.

Each is a request as the official Python client takes it. All people and addresses are invented
and end in names that are reserved for examples and tests.
"""

import base64
import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

LARGE_BYTES = 5_000_000
"""Size of a large attachment."""
MANY_RECIPIENTS = 50

# A request as JSON: its fields are of many types.
Request = dict[str, Any]

_SENTENCES = (
    "Your receipt for order 1042 is attached.",
    "Größe, Maß und Übermut: ein Gruß aus Köln.",
    "L’été dernier, à Noël, « déjà vu » — ça va ?",
    "Zażółć gęślą jaźń; příliš žluťoučký kůň.",
    "Ваш заказ отправлен и скоро будет у вас.",
    "Η παραγγελία σας βρίσκεται καθ’ οδόν.",
    "ご注文ありがとうございます。発送の準備をしています。",
    "您的订单已发货，请注意查收。",
    "주문해 주셔서 감사합니다. 곧 도착합니다.",
    "आपका ऑर्डर भेज दिया गया है।",
    "คำสั่งซื้อของคุณถูกจัดส่งแล้ว",
    "Đơn hàng của bạn đã được gửi đi.",
    "تم شحن طلبك رقم ١٠٤٢ وهو في الطريق.",
    "ההזמנה שלך (מס׳ 1042) יצאה לדרך.",
    "Party 🎉 tonight: 👩‍👩‍👧‍👦 and 🏳️‍🌈, e\u0301 is one letter, ﷽ another.",
)
_NAMES = (
    "",
    "Sample Person",
    "Person, Sample",
    'Sample "The Quoted" Person',
    "Müller & Söhne (Köln)",
    "O'Sample; Person.",
    "Пример Получателя",
    "見本 太郎",
    "مثال للمستلم",
    "דוגמה לנמען",
    "Emoji 🎈 Person",
    "A name so long that its header line has to be folded at least once, or even twice, maybe",
)
_DOMAINS = (
    "example.net",
    "mail.example.net",
    "recipient.test",
    "bücher.example",
    "пример.example",
    "例え.example",
)
_FILENAMES = (
    "report.pdf",
    "Übersicht März.xlsx",
    "счёт № 1042.docx",
    "請求書.pdf",
    "فاتورة.pdf",
    'semi;colon "and quotes".txt',
    "a long name " * 12 + ".csv",
)
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


class Sample(Struct, frozen=True):
    """Which email it is."""

    index: int
    is_large: bool
    """It has an attachment of LARGE_BYTES."""


def plan(count: int, *, large: int) -> list[Sample]:
    """The first `count` emails; `large` of them, evenly spread, have a large attachment."""
    every = count // large
    return [Sample(index, index % every == every // 2) for index in range(count)]


def build(sample: Sample, domain: str) -> Request:
    """The email, sent from an address at `domain`."""
    index = sample.index
    choose = random.Random(index)  # noqa: S311 - repeatable, not secret
    request: Request = {
        "from": _mailbox(choose, f"hello+{index}@{domain}"),
        "to": _mailboxes(choose, f"to-{index}", choose.choice((1, 1, 1, 2, 3))),
        "subject": _subject(choose, index),
        "tags": [{"name": "category", "value": f"sample_{index}"}],
    }
    _SHAPES[index % len(_SHAPES)](choose, request, index)
    if index % 3 == 0:
        request["bcc"] = _mailboxes(choose, f"hidden-{index}", choose.choice((1, 2)), is_bare=True)
    if index % 4 == 0:
        request["cc"] = _mailboxes(choose, f"copy-{index}", choose.choice((1, 2)))
        # A mailbox that stands in two fields still gets one copy.
        request["cc"].append(request["to"][0])
    if index % 5 == 0:
        request["reply_to"] = _mailboxes(choose, f"reply-{index}", choose.choice((1, 2)))
    if index % 6 == 0:
        request["headers"] = _headers(choose, index)
    if sample.is_large:
        _attach(request, f"large-{index}.bin", choose.randbytes(LARGE_BYTES))
    return request


def _with_text(choose: random.Random, request: Request, index: int) -> None:
    request["text"] = _paragraphs(choose, 3)


def _with_html(choose: random.Random, request: Request, index: int) -> None:
    request["html"] = _html(choose, 4)


def _with_both(choose: random.Random, request: Request, index: int) -> None:
    request["html"] = _html(choose, 6)
    request["text"] = _paragraphs(choose, 6)


def _with_long_html(choose: random.Random, request: Request, index: int) -> None:
    # One line of more than the 998 octets that SMTP allows, and 10 kB in all.
    row = f"<td style='padding:4px'>{choose.choice(_SENTENCES)}</td>"
    html = "<html><body><table><tr>" + row * 20 + "</tr></table>"
    while len(html.encode()) < 10_000:
        html += f"\n<p>{choose.choice(_SENTENCES)}</p>"
    request["html"] = html + "</body></html>"
    request["text"] = _paragraphs(choose, 2)


def _with_awkward_text(choose: random.Random, request: Request, index: int) -> None:
    request["text"] = (
        ".\n..\n.a line that starts with a dot\nFrom the start of a line\n"
        "ends with spaces   \n\ttab\ttab\n=3D is no escape\n--\n-- \nsignature\n"
        + "x" * 1_500
        + "\n\n\n"
        + choose.choice(_SENTENCES)
    )


def _with_inline_image(choose: random.Random, request: Request, index: int) -> None:
    content_id = f"logo-{index}"
    request["html"] = _html(choose, 2) + f'<img src="cid:{content_id}" alt="logo">'
    _attach(request, "logo.png", _PIXEL, content_id=content_id)
    if choose.random() < 0.5:
        request["text"] = _paragraphs(choose, 2)
    if choose.random() < 0.5:
        _attach(request, choose.choice(_FILENAMES), choose.randbytes(900))


def _with_attachments(choose: random.Random, request: Request, index: int) -> None:
    request["text"] = _paragraphs(choose, 2)
    for filename in choose.sample(_FILENAMES, choose.choice((1, 2, 3))):
        _attach(request, filename, choose.randbytes(choose.choice((0, 1, 57, 3_000, 40_000))))
    # The client also takes the bytes as a list of numbers.
    request["attachments"].append({"filename": "list.bin", "content": [0, 13, 10, 46, 255]})


def _with_many_recipients(choose: random.Random, request: Request, index: int) -> None:
    _with_both(choose, request, index)
    if index % (3 * len(_SHAPES)) == 3 * len(_SHAPES) - 1:
        request["to"] = _mailboxes(choose, f"many-{index}", MANY_RECIPIENTS - 12)
        request["cc"] = _mailboxes(choose, f"copy-{index}", 8)
        request["bcc"] = _mailboxes(choose, f"hidden-{index}", 4, is_bare=True)


_SHAPES: tuple[Callable[[random.Random, Request, int], None], ...] = (
    _with_text,
    _with_html,
    _with_both,
    _with_long_html,
    _with_awkward_text,
    _with_inline_image,
    _with_attachments,
    _with_many_recipients,
)


def _mailboxes(
    choose: random.Random, local_part: str, count: int, *, is_bare: bool = False
) -> list[str]:
    return [
        _mailbox(choose, f"{local_part}-{number}@{choose.choice(_DOMAINS)}", is_bare=is_bare)
        for number in range(count)
    ]


def _mailbox(choose: random.Random, address: str, *, is_bare: bool = False) -> str:
    name = "" if is_bare else choose.choice(_NAMES)
    if not name:
        return address
    if any(special in name for special in '",.;()'):
        escaped = name.replace('"', '\\"')
        return f'"{escaped}" <{address}>'
    return f"{name} <{address}>"


def _subject(choose: random.Random, index: int) -> str:
    count = choose.choice((1, 1, 1, 4))
    return f"{index}: " + " ".join(choose.choice(_SENTENCES) for _ in range(count))


def _paragraphs(choose: random.Random, count: int) -> str:
    return "\n\n".join(choose.choice(_SENTENCES) * choose.choice((1, 2)) for _ in range(count))


def _html(choose: random.Random, count: int) -> str:
    paragraphs = "\n".join(
        f'<p dir="auto">{choose.choice(_SENTENCES)} <a href="https://example.com/a?b=1&amp;c=2">'
        "more</a></p>"
        for _ in range(count)
    )
    return f"<!doctype html>\n<html><body>\n{paragraphs}\n</body></html>\n"


def _headers(choose: random.Random, index: int) -> dict[str, str]:
    return {
        "X-Entity-Ref-ID": f"ref-{index}",
        "X-Sample-Note": choose.choice(_SENTENCES),
        "List-Unsubscribe": f"<https://example.com/unsubscribe/{'u' * 120}/{index}>",
        "In-Reply-To": f"<previous-{index}@example.com>",
    }


def _attach(request: Request, filename: str, body: bytes, *, content_id: str | None = None) -> None:
    attachment = {"filename": filename, "content": base64.b64encode(body).decode("ascii")}
    if content_id is not None:
        attachment["content_id"] = content_id
    request.setdefault("attachments", []).append(attachment)
