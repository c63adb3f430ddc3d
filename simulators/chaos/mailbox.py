"""Where messages to people arrive over HTTP: a server of the run's own, on a loopback port.

It takes each message at once and remembers its key. In a thread, because whoever sends waits seconds only.
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
    """The keys of what arrived, in order; a message that came twice stands here twice."""

    address: str = ""
    keys: list[str] = field(default_factory=list)


@contextmanager
def a_mailbox() -> Iterator[Mailbox]:
    """Give a mailbox whose ``address`` is one of apprise's, while the context is open."""
    mailbox = Mailbox()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            mailbox.keys.append(json.loads(content)["key"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Say nothing: whoever sends may be killed in the middle of a message."""

    server = Quiet(("127.0.0.1", 0), Taking)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        mailbox.address = f"json://127.0.0.1:{server.server_address[1]}/"
        yield mailbox
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
