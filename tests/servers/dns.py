"""A small DNS server of one's own: it answers from a table, over UDP and TCP on one loopback port.

Runs in threads, so that commands with an event loop of their own can ask it. Longer answers than UDP holds
are cut with the TC flag, as real servers do.
"""

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.servers.ports import HOST, free_port

UDP_SIZE = 512  # RFC 1035 section 2.3.4; what a client allows beyond it is not used

Records = dict[tuple[str, str], Sequence[str]]
"""(name, type) -> the records as zone files write them."""


class DnsServer:
    """Change `records` at any time. Names in `failing` are answered SERVFAIL, those in `silent` never;
    `asked` lists the questions as (name, type, "udp" or "tcp")."""

    def __init__(self, records: Records | None = None) -> None:
        self.records: Records = dict(records or {})
        self.failing: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[tuple[str, str, str]] = []
        self.port = 0

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{HOST}:{self.port}"

    @contextlib.contextmanager
    def run(self) -> Iterator["DnsServer"]:
        """Answers until the block ends."""
        udp, tcp = self._servers()
        threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in (udp, tcp)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for server in (udp, tcp):
                server.shutdown()
                server.server_close()
            for thread in threads:
                thread.join()

    def _servers(self) -> tuple[socketserver.BaseServer, socketserver.BaseServer]:
        """Both on one port; another program may have one of the two."""
        server = self
        for _ in range(20):
            self.port = free_port()

            class Udp(socketserver.BaseRequestHandler):
                def handle(self) -> None:
                    data, sock = self.request
                    if (answer := server.answer(data, "udp")) is not None:
                        sock.sendto(answer, self.client_address)

            class Tcp(socketserver.StreamRequestHandler):
                def handle(self) -> None:
                    head = self.rfile.read(2)
                    if len(head) == 2:
                        answer = server.answer(self.rfile.read(struct.unpack("!H", head)[0]), "tcp")
                        if answer is not None:
                            self.wfile.write(struct.pack("!H", len(answer)) + answer)

            try:
                udp = socketserver.UDPServer((HOST, self.port), Udp)
            except OSError:
                continue
            try:
                return udp, _ThreadingTcp((HOST, self.port), Tcp)
            except OSError:
                udp.server_close()
        raise RuntimeError("no port is free for UDP and TCP alike")

    def answer(self, data: bytes, way: str) -> bytes | None:
        """The answer to one query's octets, None for silence."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, way))
        if name in self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name in self.failing:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif not any(known.lower() == name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif found := self.records.get((name, kind)):
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
        return _wire(response, UDP_SIZE if way == "udp" else 65_535)


class _ThreadingTcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    address_family = socket.AF_INET


def _wire(response: Any, size: int) -> bytes:
    try:
        return bytes(response.to_wire(max_size=size))
    except dns.exception.TooBig:
        response.answer.clear()
        response.flags |= dns.flags.TC
        return bytes(response.to_wire())


def txt(text: str) -> str:
    """A TXT record's text, cut into strings of at most 255 octets (RFC 1035 section 3.3)."""
    parts = [text[start : start + 255] for start in range(0, len(text), 255)]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts)
