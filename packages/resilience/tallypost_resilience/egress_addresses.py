"""Which addresses a request from inside may go to: the public ones, and no others.

Python's `is_global` follows the registries of IANA as they were at its release, and calls global
what leads back inside by way of a gateway. The lists here say it for every version we run on.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

# iana.org/assignments/iana-ipv4-special-registry, and what clouds serve to their guests.
_DENIED_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # This host.
            "10.0.0.0/8",  # Private.
            "100.64.0.0/10",  # Shared by a provider's customers.
            "127.0.0.0/8",  # Loopback.
            "168.63.129.16/32",  # Azure's host agent, public in form only.
            "169.254.0.0/16",  # Link-local, and metadata of most clouds.
            "172.16.0.0/12",  # Private.
            "192.0.0.0/24",  # Protocol assignments, and metadata of Oracle's cloud.
            "192.0.2.0/24",  # Documentation.
            "192.88.99.0/24",  # Relays of 6to4.
            "192.168.0.0/16",  # Private.
            "198.18.0.0/15",  # Benchmarks.
            "198.51.100.0/24",  # Documentation.
            "203.0.113.0/24",  # Documentation.
            "224.0.0.0/4",  # Multicast.
            "240.0.0.0/4",  # Reserved, broadcast included.
        ),
    )
)
# iana.org/assignments/iana-ipv6-special-registry. Global unicast is one block; what is outside
# of it is loopback, local, multicast, unassigned, or has an IPv4 address inside: mapped,
# compatible, translated (RFC 2765) or behind NAT64.
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_DENIED_V6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # Protocol assignments; Teredo, with an IPv4 address inside.
            "2001:db8::/32",  # Documentation.
            "2002::/16",  # 6to4, with an IPv4 address inside.
            "3fff::/20",  # Documentation.
        ),
    )
)
# RFC 5214, 6.1: the last 64 bits of an ISATAP address are one of these and an IPv4 address.
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})


def is_public(address: IPAddress) -> bool:
    """True where an address is of the public internet, whatever way leads there.

    Not known here is a network's own prefix for NAT64 (RFC 6052, 2.2): where one is in use, the
    network must not translate to private addresses.
    """
    if address.is_multicast or not address.is_global:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _DENIED_V4)
    return (
        address in _GLOBAL_V6
        and not any(address in network for network in _DENIED_V6)
        and (int(address) >> 32) & 0xFFFF_FFFF not in _ISATAP
    )


def is_allowed(address: IPAddress, allowed: tuple[IPNetwork, ...]) -> bool:
    """True where an address is public, or in a network that the operator allows beside."""
    return is_public(address) or any(address in network for network in allowed)
