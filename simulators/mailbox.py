"""Where messages to people arrive over HTTP: a server on loopback that takes them as somebody's own would.

In a thread, because whoever sends waits seconds only.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Mailbox:
    """What came, in order, twice where it came twice. While ``takes`` is false all is refused with 503."""

    address: str = ""
    took: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0
    takes: bool = True

    @property
    def titles(self) -> list[str]:
        """Return the titles in order."""
        return [message["title"] for message in self.took]

    @property
    def keys(self) -> list[str]:
        """Return the notices' keys in order."""
        return [message["key"] for message in self.took]


@contextmanager
def a_mailbox() -> Iterator[Mailbox]:
    """Give a mailbox whose ``address`` is one of apprise's, while the context is open."""
    mailbox = Mailbox()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if mailbox.takes:
                mailbox.took.append(json.loads(content))
            else:
                mailbox.refused += 1
            self.send_response(200 if mailbox.takes else 503)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Say nothing: whoever sends may be killed in the middle of a message."""

    server = Quiet(("127.0.0.1", 0), Taking)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        mailbox.address = f"json://127.0.0.1:{server.server_address[1]}/"
        yield mailbox
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
