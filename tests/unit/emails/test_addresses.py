"""Mailboxes are read as their writers meant them, or refused with the field's name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_domain.emails.addresses import parse_address
from tallypost_domain.emails.errors import InvalidField, InvalidFromAddress
from tallypost_providers.addresses import parse_mailbox

CONTROLS = [*range(0x09), *range(0x0A, 0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029]
LONGEST_LOCAL_PART = "a" * 64
LONGEST_LABEL = "b" * 63
# 64 and 189 characters, and the @ between them.
LONGEST_ADDRESS = f"{LONGEST_LOCAL_PART}@{LONGEST_LABEL}.{LONGEST_LABEL}.{'c' * 56}.test"


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("ada@example.com", "", "ada@example.com"),
        ("  ada@example.com  ", "", "ada@example.com"),
        ("<ada@example.com>", "", "ada@example.com"),
        ("Ada <ada@example.com>", "Ada", "ada@example.com"),
        ("Ada<ada@example.com>", "Ada", "ada@example.com"),
        ("  Ada   Lovelace  <  ada@example.com  >  ", "Ada   Lovelace", "ada@example.com"),
        ('"Lovelace, Ada" <ada@example.com>', "Lovelace, Ada", "ada@example.com"),
        ('"Ada \\"A\\" \\\\ L" <ada@example.com>', 'Ada "A" \\ L', "ada@example.com"),
        ('"a <b@c.test> d" <ada@example.com>', "a <b@c.test> d", "ada@example.com"),
        ('"Ada" L <ada@example.com>', '"Ada" L', "ada@example.com"),
        ('" " <ada@example.com>', "", "ada@example.com"),
        ("Lovelace, Ada <ada@example.com>", "Lovelace, Ada", "ada@example.com"),
        ("ada@example.com <ada@example.com>", "ada@example.com", "ada@example.com"),
        ("Zoë ✉ <ada@example.com>", "Zoë ✉", "ada@example.com"),
        ("山田太郎 <ada@example.com>", "山田太郎", "ada@example.com"),
        ("أحمد <ada@example.com>", "أحمد", "ada@example.com"),
        ("Ада\tЛ <ada@example.com>", "Ада\tЛ", "ada@example.com"),
        ("=?utf-8?B?QQ==?= <ada@example.com>", "=?utf-8?B?QQ==?=", "ada@example.com"),
    ],
)
def test_name_and_address_are_read_as_written(text: str, name: str, address: str) -> None:
    parsed = parse_address(text, "to")
    assert parsed.address == address
    # The builder of messages reads the header again, and must see the same.
    mailbox = parse_mailbox(parsed.header, "to")
    assert (mailbox.name, mailbox.address) == (name, address)


@pytest.mark.parametrize(
    ("text", "address", "domain"),
    [
        ("Ada@Example.COM", "Ada@example.com", "example.com"),
        ("a.b+tag@mail.example.com", "a.b+tag@mail.example.com", "mail.example.com"),
        ("o'neil!#$%&*/=?^_`{|}~-@example.test", "o'neil!#$%&*/=?^_`{|}~-@example.test", None),
        ("ada@bücher.example", "ada@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("ada@BÜCHER.test", "ada@xn--bcher-kva.test", "xn--bcher-kva.test"),
        ("ada@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("ada@пример.рф", "ada@xn--e1afmkfd.xn--p1ai", "xn--e1afmkfd.xn--p1ai"),
        ("ada@例え.test", "ada@xn--r8jz45g.test", "xn--r8jz45g.test"),
        (LONGEST_ADDRESS, LONGEST_ADDRESS, None),
    ],
)
def test_domain_is_lower_case_ascii_and_the_local_part_stays(
    text: str, address: str, domain: str | None
) -> None:
    parsed = parse_address(text, "to")
    assert (parsed.address, parsed.header) == (address, address)
    assert parsed.domain == domain or domain is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "ada",
        "@example.com",
        "ada@",
        "ada@example..com",
        "ada@-example.com",
        "ada@example-.com",
        "ada@exam_ple.com",
        "ada@xn--zzzzzzz9999.example",
        "ada@[127.0.0.1]",
        "ada@example.com.",
        ".ada@example.com",
        "ada.@example.com",
        "a..da@example.com",
        "a da@example.com",
        '"a da"@example.com',
        "jürgen@example.com",
        "ada@@example.com",
        "ada@example.com>",
        "<ada@example.com",
        "Ada <ada@example.com> x",
        "Ada <>",
        "Ada (comment) ada@example.com",
        "a" * 65 + "@example.com",
        "a@" + "b" * 64 + ".com",
        LONGEST_ADDRESS.replace("@b", "@bb.b"),
        "mailto:ada@example.com",
        "ada＠example.com",
    ],
)
def test_what_is_no_mailbox_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_address(text, "cc[3]")
    assert caught.value.field == "cc[3]"
    assert "`cc[3]`" in caught.value.message
    assert "name@example.com" in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "a@example.com, b@example.com",
        "a@example.com; b@example.com",
        "A <a@example.com>, B <b@example.com>",
        "A <a@example.com> B <b@example.com>",
        "a@example.com, B <b@example.com>",
        "a@example.com ; B <b@example.com>",
        "a@example.com,b@example.com,<c@example.com>",
        "<<a@example.com>>",
    ],
)
def test_two_mailboxes_in_one_string_are_never_taken_for_one(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_address(text, "to")
    assert caught.value.field == "to"


@pytest.mark.parametrize("code", [*CONTROLS, 0xD800, 0xDFFF])
@pytest.mark.parametrize("form", ["A{}b <a@example.com>", "a@exam{}ple.com", "a@example.com{}"])
def test_control_character_or_half_a_character_anywhere_is_refused(code: int, form: str) -> None:
    with pytest.raises(InvalidFromAddress) as caught:
        parse_address(form.format(chr(code)), "from", error=InvalidFromAddress)
    assert caught.value.field == "from"
    # The message is shown and logged, so it holds nothing that it refuses.
    assert chr(code) not in caught.value.message


def test_mailbox_of_998_characters_is_read_and_a_longer_one_is_not() -> None:
    tail = " <a@example.com>"
    name = "n" * (998 - len(tail))
    assert parse_mailbox(parse_address(name + tail, "to").header, "to").name == name
    with pytest.raises(InvalidField, match="998"):
        parse_address("n" + name + tail, "to")


@pytest.mark.parametrize(
    "text",
    [
        " " * 998,
        "a <" + " " * 990 + "b",
        '"' * 998,
        '"' + "\\" * 996 + " <",
        "@" * 998,
        "a@" * 499,
        ("a@a" + "," * 10) * 70 + "<a@a.test>",
        "a" * 498 + "@" + "b" * 499,
        "a@" + "a-" * 490,
        "a@" + "a." * 490,
        "<" * 998,
        "ü" * 499 + "@" + "ü" * 498,
    ],
)
@pytest.mark.timeout(30)
def test_no_text_makes_reading_hang(text: str) -> None:
    # A regular expression that backtracks needs a second and more for one of these, once; a batch
    # may hold thousands.
    for _ in range(60):
        with pytest.raises(InvalidField):
            parse_address(text, "to")


LOCAL_PARTS = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{4,30}", fullmatch=True)


@given(st.text(max_size=80), LOCAL_PARTS, st.text(max_size=20))
def test_errors_never_hold_the_address(name: str, local_part: str, rest: str) -> None:
    for text in (f"{name} <{local_part}@{rest}>", f"{local_part}@{rest}", local_part + rest):
        try:
            parse_address(text, "to")
        except InvalidField as error:
            message = error.message.replace("name@example.com", "").replace("Name <>", "")
            assert f"{local_part}@" not in message


@given(st.text(max_size=120))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    for written in (text, f"{text} <a@example.com>", f"a@{text}", f"{text}@example.com"):
        try:
            parsed = parse_address(written, "to")
        except InvalidField:
            continue
        assert parse_mailbox(parsed.header, "to").address == parsed.address
        assert parsed.address.isascii()
        assert parsed.address.endswith(f"@{parsed.domain}")
        # Read again, a mailbox is the same: the header that is stored is in its final form.
        assert parse_address(parsed.header, "to") == parsed
