"""A name server that knows one small zone, for judges that ask DNS about our messages."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = Mapping[tuple[str, str], Sequence[str]]
"""Records in the form of a zone file by name, without the last dot, and type: ("a.test", "A")."""

_TTL_S = 60
_QUERY_MAX_BYTES = 4096


def txt(text: str) -> str:
    """A TXT record in strings of at most 255 characters, which a resolver joins."""
    return " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))


@contextmanager
def fake_dns(zone: Zone) -> Iterator[int]:
    """Answer on 127.0.0.1 by UDP for as long as the block lasts; yields the port.

    Names outside the zone do not exist, which is answered at once: a judge never waits.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        thread = Thread(target=_serve, args=(server, zone), daemon=True)
        thread.start()
        try:
            yield port
        finally:
            # An empty datagram is no query; it only ends the wait for one.
            server.sendto(b"", ("127.0.0.1", port))
            thread.join()


def _serve(server: socket.socket, zone: Zone) -> None:
    while True:
        query, peer = server.recvfrom(_QUERY_MAX_BYTES)
        if not query:
            return
        server.sendto(_answer(dns.message.from_wire(query), zone).to_wire(), peer)


def _answer(query: dns.message.Message, zone: Zone) -> dns.message.Message:
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.RA
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    records = zone.get((name, dns.rdatatype.to_text(question.rdtype)), ())
    if records:
        answer.answer.append(
            dns.rrset.from_text_list(question.name, _TTL_S, "IN", question.rdtype, records)
        )
    elif not any(known == name for known, _ in zone):
        answer.set_rcode(dns.rcode.NXDOMAIN)
    return answer
