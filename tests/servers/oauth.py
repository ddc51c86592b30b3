"""A provider's token endpoint, which Dovecot asks whose an access token is."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit


class Tokens:
    """`good` tokens open the account `login`; `asked` lists what was shown, in order."""

    def __init__(self, login: str) -> None:
        self.login = login
        self.good: set[str] = set()
        self.asked: list[str] = []


@contextlib.contextmanager
def token_endpoint(port: int, login: str) -> Iterator[Tokens]:
    """On loopback, until the block ends."""
    book = Tokens(login)

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = parse_qs(urlsplit(self.path).query)["access_token"][0]
            book.asked.append(token)
            self.send_response(200 if token in book.good else 401)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps({"login": book.login} if token in book.good else {}).encode())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", port), Endpoint)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield book
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
