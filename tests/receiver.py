"""A server that takes notices as they come over HTTP, as somebody's own would."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What came, in order. While ``takes`` is false every message is refused with 503."""

    address: str = ""
    took: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0
    takes: bool = True

    @property
    def titles(self) -> list[str]:
        """Return the titles in order."""
        return [message["title"] for message in self.took]


@contextmanager
def a_receiver() -> Iterator[Receiver]:
    """Give a server on a free port of loopback; its address is one of apprise's."""
    received = Receiver()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if received.takes:
                received.took.append(json.loads(content))
            else:
                received.refused += 1
            self.send_response(200 if received.takes else 503)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        received.address = f"json://127.0.0.1:{server.server_address[1]}/"
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
