"""Ports: how they move together, which are refused, and who holds one."""

import os
import socket

import pytest

from tallypost_cli import port_owners, programs
from tallypost_cli.errors import StartUpError
from tallypost_cli.ports import find_free_port, is_free
from tallypost_cli.up import choose_ports, refuse_busy_ports

_TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1111 1 0
   1: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 2222 1 0
   2: 00000000:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3333 1 0
"""


def test_all_ports_move_by_the_difference_to_8000() -> None:
    usual, moved = programs.default_ports(8000), programs.default_ports(18_000)
    assert usual["TALLYPOST_API_PORT"] == 8000
    assert usual["TALLYPOST_INBOX_PORT"] == 1025
    assert {name: port - usual[name] for name, port in moved.items()} == dict.fromkeys(
        usual, 10_000
    )


def test_a_port_that_is_set_on_its_own_stays_where_it_was_put() -> None:
    ports = choose_ports(18_000, {"TALLYPOST_API_PORT": "9999"})
    assert (ports["TALLYPOST_API_PORT"], ports["TALLYPOST_CONSOLE_PORT"]) == (9999, 18_001)


@pytest.mark.parametrize("base", [6975, 65_534])
def test_a_base_that_leads_to_ports_that_do_not_exist_is_refused(base: int) -> None:
    with pytest.raises(StartUpError, match="TALLYPOST_PORT_BASE"):
        choose_ports(base, {})


def test_a_port_is_busy_while_somebody_listens_and_free_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        assert find_free_port(port) != port
    assert is_free(port)
    assert find_free_port(port) == port


def test_all_busy_ports_are_told_at_once_with_their_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
        ports = {
            "TALLYPOST_API_PORT": one.getsockname()[1],
            "TALLYPOST_INBOX_PORT": two.getsockname()[1],
        }
        with pytest.raises(StartUpError) as refusal:
            refuse_busy_ports(ports)
    message = str(refusal.value)
    assert f"Port {ports['TALLYPOST_API_PORT']} (api) is taken by pid {os.getpid()}" in message
    assert f"Port {ports['TALLYPOST_INBOX_PORT']} (local-inbox)" in message
    assert "TALLYPOST_PORT_BASE=" in message


def test_only_sockets_that_listen_on_the_port_count() -> None:
    assert port_owners.listening_inodes(_TABLE, 8000) == {"1111"}
    assert port_owners.listening_inodes(_TABLE, 26) == set()


def test_an_owner_that_cannot_be_told_is_called_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert port_owners.describe_owner(port) == port_owners.UNKNOWN


def test_no_free_port_is_given_twice() -> None:
    # Far fewer are needed for two equal ones among them, were each drawn anew.
    given = [find_free_port() for _ in range(600)]
    assert len(set(given)) == len(given)


def test_preferred_port_is_given_again() -> None:
    port = find_free_port()
    assert find_free_port(port) == find_free_port(port) == port
