"""Which URLs may be fetched at all, before any name is looked up."""

from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from tallypost_resilience.egress_rules import MAX_URL_LENGTH, EgressForbidden, EgressRules

RULES = EgressRules()
SECRET = "s3cr3t-token"

FORBIDDEN = {
    "another scheme": "ftp://example.com/",
    "file": "file:///etc/passwd",
    "gopher": "gopher://example.com/",
    "no scheme": "example.com/a",
    "no scheme but slashes": "//example.com/a",
    "no host": "http:///a",
    "no host behind brackets": "http://[]@/",
    "nothing": "",
    "user": "https://user@example.com/",
    "password": "https://:secret@example.com/",
    "host that is a user": "https://example.com@127.0.0.1/",
    "host behind a backslash": "https://example.com\\@127.0.0.1/",
    "port of SSH": "http://example.com:22/",
    "port 0": "http://example.com:0/",
    "port too high": "http://example.com:99999/",
    "space": "http://example.com/a b",
    "line break": "http://example.com/\r\nX: y",
    "tab in the host": "http://exam\tple.com/",
    "NUL": "http://example.com/\x00",
    "half a character": "http://example.com/\ud800",
    "too long": "http://example.com/" + "a" * MAX_URL_LENGTH,
    "loopback": "http://127.0.0.1/",
    "decimal": "http://2130706433/",
    "decimal of a public address": "http://134744072/",
    "hexadecimal": "http://0x7f000001/",
    "hexadecimal in capitals": "http://0X7F000001/",
    "hexadecimal part": "http://0x7f.1/",
    "octal": "http://0177.0.0.1/",
    "long octal": "http://017700000001/",
    "two parts": "http://127.1/",
    "three parts": "http://127.0.1/",
    "leading zeros": "http://127.0.0.01/",
    "trailing dot": "http://127.0.0.1./",
    "five parts": "http://1.1.1.1.1/",
    "part too high": "http://1.1.1.256/",
    "full-width digits": "http://１２７.0.0.1/",
    "circled digits": "http://①②⑦.0.0.1/",
    "ideographic full stops": "http://127。0。0。1/",
    "percent-encoded": "http://%31%32%37.0.0.1/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "IPv6 loopback": "http://[::1]/",
    "IPv6 unspecified": "http://[::]/",
    "IPv6 mapped": "http://[::ffff:127.0.0.1]/",
    "IPv6 mapped in hexadecimal": "http://[::ffff:7f00:1]/",
    "IPv6 by NAT64": "http://[64:ff9b::7f00:1]/",
    "IPv6 by 6to4": "http://[2002:7f00:1::]/",
    "IPv6 local": "http://[fd00:ec2::254]/",
    "zone": "http://[fe80::1%25eth0]/",
    "zone without escape": "http://[fe80::1%eth0]/",
    "zone of a public address": "http://[2606:4700::1111%25eth0]/",
    "IPv6 without its end": "http://[::1",
    "future address": "http://[v1.fe80::a]/",
    "empty label": "http://a..b/",
    "two trailing dots": "http://example.com../",
    "label too long": f"http://{'a' * 64}.com/",
    "name too long": f"http://{'a.' * 130}com/",
    "label with a dash first": "http://-a.com/",
    "percent in a name": "http://localhost%00.example.com/",
}
FETCHABLE = {
    "http://example.com": ("example.com", 80),
    "https://example.com/a?b=c#d": ("example.com", 443),
    "HTTPS://EXAMPLE.com:8443/": ("example.com", 8443),
    "https://example.com:80/": ("example.com", 80),
    "https://example.com./": ("example.com.", 443),
    "https://bücher.example/": ("xn--bcher-kva.example", 443),
    "https://a_b.example.com/": ("a_b.example.com", 443),
    "https://127.0.0.1.example.com/": ("127.0.0.1.example.com", 443),
    "http://1.1.1.1/": ("1.1.1.1", 80),
    "http://[2606:4700:4700::1111]:443/": ("2606:4700:4700::1111", 443),
    "https://example.com/@user:pass": ("example.com", 443),
}


@pytest.mark.parametrize("url", FORBIDDEN.values(), ids=FORBIDDEN)
def test_url_is_refused(url: str) -> None:
    with pytest.raises(EgressForbidden):
        RULES.require_url(url)


@pytest.mark.parametrize(("url", "expected"), FETCHABLE.items(), ids=FETCHABLE)
def test_url_is_let_through(url: str, expected: tuple[str, int]) -> None:
    parsed = RULES.require_url(url)
    assert (parsed.raw_host, parsed.port) == expected


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://example.com/{SECRET}",
        f"https://{SECRET}@example.com/",
        f"https://127.0.0.1/?token={SECRET}",
        f"https://example.com:22/{SECRET}",
        f"https://[::1/{SECRET}",
        f"https://{SECRET}..example.com/",
        f"https://1.1.1.{SECRET}.1/",
    ],
)
def test_refusal_quotes_nothing_of_the_url(url: str) -> None:
    with pytest.raises(EgressForbidden) as caught:
        RULES.require_url(url)
    assert SECRET not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


HOSTS = st.text(max_size=20) | st.text("0123456789.xXaAfF:[]%@\\。", max_size=20)


@given(HOSTS, st.text(max_size=10))
@example("127.0.0.1", "")
def test_what_is_let_through_is_a_name_or_a_public_address(host: str, rest: str) -> None:
    try:
        url = RULES.require_url(f"http://{host}/{rest}")
    except EgressForbidden:
        return
    assert isinstance(url, URL)
    assert url.raw_host
    assert url.raw_host.isascii()
    if ":" in url.raw_host or url.raw_host.rstrip(".").rpartition(".")[2].isdigit():
        RULES.require_address(url.raw_host)


def test_operator_may_open_other_ports_and_networks() -> None:
    rules = EgressRules(ports=frozenset({9000}), allowed_networks=(ip_network("127.0.0.0/8"),))
    assert rules.require_url("http://127.0.0.1:9000/").port == 9000
    for url in ("http://127.0.0.1/", "http://10.0.0.1:9000/", "http://2130706433:9000/"):
        with pytest.raises(EgressForbidden):
            rules.require_url(url)


@pytest.mark.parametrize(
    "numbers",
    [{"timeout_s": 0.0}, {"timeout_s": float("inf")}, {"max_answer_bytes": -1}, {"connections": 0}],
    ids=str,
)
def test_meaningless_rules_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        EgressRules(**numbers)  # type: ignore[arg-type]  # One of several types.
