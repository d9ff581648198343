"""Every address that leads inside is refused, in each of its forms; the internet is not."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallypost_resilience.egress_addresses import IPAddress, is_allowed, is_public

DENIED = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "1000::/4",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "4000::/2",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
NEVER = [
    "0.0.0.0",  # noqa: S104  # Judged, not bound.
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.8",
    "192.0.0.192",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::a00:1",
    "2001:0:7f00:1::",
    "2002:7f00:1::",
    "2002:808:808::1",
    "2600:1:2:3:0:5efe:127.0.0.1",
    "2600:1:2:3:200:5efe:10.0.0.1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
]
INTERNET = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.88.98.255",
    "192.88.100.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
]

V4 = st.ip_addresses(v=4)


@pytest.mark.parametrize("network", DENIED)
def test_first_and_last_address_of_a_denied_network_are_refused(network: str) -> None:
    denied = ip_network(network)
    assert not is_public(denied[0])
    assert not is_public(denied[-1])


@given(st.sampled_from(DENIED).map(ip_network), st.data())
def test_no_address_of_a_denied_network_is_public(
    network: IPv4Network | IPv6Network, data: st.DataObject
) -> None:
    assert not is_public(network[data.draw(st.integers(0, network.num_addresses - 1))])


@pytest.mark.parametrize("address", NEVER)
def test_address_that_leads_inside_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", INTERNET)
def test_address_of_the_internet_is_let_through(address: str) -> None:
    assert is_public(ip_address(address))


@given(V4, st.integers(0, 2**32 - 1))
def test_no_ipv6_form_of_an_ipv4_address_is_let_through(address: IPv4Address, prefix: int) -> None:
    number = int(address)
    forms = [
        number,
        (0xFFFF << 32) | number,
        (0xFFFF << 48) | number,
        (0x0064_FF9B << 96) | number,
        (0x2002 << 112) | (number << 80),
        (0x2001_0000 << 96) | (number ^ 0xFFFF_FFFF),
        (0x2600 << 112) | (prefix << 64) | (0x5EFE << 32) | number,
        (0x2600 << 112) | (prefix << 64) | (0x0200_5EFE << 32) | number,
    ]
    assert [str(form) for form in map(IPv6Address, forms) if is_public(form)] == []


@given(V4 | st.ip_addresses(v=6))
def test_public_is_never_more_than_what_python_calls_global(
    address: IPv4Address | IPv6Address,
) -> None:
    assert not is_public(address) or (address.is_global and not address.is_multicast)


@given(V4)
def test_every_ipv4_address_outside_the_list_is_of_the_internet(address: IPv4Address) -> None:
    is_listed = any(address in ip_network(network) for network in DENIED)
    assert is_public(address) is not is_listed


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", False),
        ("10.9.0.7", True),
        ("8.8.8.8", True),
        # The same bytes in another family are another address.
        ("::ffff:127.0.0.1", False),
        ("::1", False),
        ("fd00::5", True),
    ],
)
def test_operator_may_allow_single_networks(address: str, expected: bool) -> None:
    allowed = (ip_network("127.0.0.1"), ip_network("10.9.0.0/16"), ip_network("fd00::/64"))
    parsed: IPAddress = ip_address(address)
    assert is_allowed(parsed, allowed) is expected
