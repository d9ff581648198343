"""What a host in the settings is: this machine, to which plain text may go, or another."""

import ipaddress


def is_loopback(host: str) -> bool:
    """True for this machine, by its address or its usual name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
