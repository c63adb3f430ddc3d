"""Finding a running ``vpp serve`` and asking it: commands that write go through the one writer.

``service.json`` in the state directory names its port and process, ``api-token`` (0600) is the key to it.
"""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx

from vpp.entrypoints.operations.desk import Json, OperationRefused

SERVICE_FILE = "service.json"
TOKEN_FILE = "api-token"  # noqa: S105  # the file's name, not the token
CONNECT_S = 2.0
SILENCE_S = 15.0  # a stream says something each second
ANSWER_S = 600.0  # a large import or settlement


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that answered its health check."""

    port: int
    pid: int
    token: str

    def ask(
        self,
        method: str,
        path: str,
        *,
        actor: str,
        query: Mapping[str, str] | None = None,
        body: Json | bytes | None = None,
    ) -> Json:
        """Return what the service answers.

        Raises:
            OperationRefused: It refused, or went away in the middle.
        """
        headers = {"Authorization": f"Bearer {self.token}", "X-VPP-Actor": actor}
        if method != "GET":
            headers["Idempotency-Key"] = secrets.token_hex(16)
        content = body if isinstance(body, bytes) else None
        document = None if isinstance(body, bytes) else body
        try:
            answer = httpx.request(
                method,
                f"http://127.0.0.1:{self.port}{path}",
                headers=headers,
                params=query,
                content=content,
                json=document,
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                trust_env=False,
            )
        except httpx.HTTPError as failure:
            raise OperationRefused(
                f"vpp serve (process {self.pid}) went away while it was asked: {failure or 'no answer'}; "
                "start it again, or ask again without it",
                HTTPStatus.BAD_GATEWAY,
            ) from failure
        return _read_answer(answer)

    def follow(self, path: str) -> Iterator[tuple[str, Json]]:
        """Return what the service says on a stream, kind and value, until the stream ends.

        Raises:
            OperationRefused: It refused, or went away in the middle.
        """
        try:
            with httpx.stream(
                "GET",
                f"http://127.0.0.1:{self.port}{path}",
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
                trust_env=False,
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    _read_answer(answer)
                kind = ""
                for line in answer.iter_lines():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        kind = value
                    elif name == "data":
                        yield kind, json.loads(value)
        except httpx.TimeoutException as failure:
            raise OperationRefused(
                f"the service (process {self.pid}) said nothing for {SILENCE_S:.0f} s; leases go on",
                HTTPStatus.GATEWAY_TIMEOUT,
            ) from failure
        except httpx.HTTPError as failure:
            raise self.gone() from failure

    def gone(self) -> OperationRefused:
        """Return what is raised where the service ended in the middle of a stream."""
        return OperationRefused(
            f"the service (process {self.pid}) is gone; its homes' leases go on until they end",
            HTTPStatus.BAD_GATEWAY,
        )

    def readiness(self) -> Json:
        """Return what the service needs and whether each is there; nothing where it does not answer."""
        try:
            found = httpx.get(
                f"http://127.0.0.1:{self.port}/health/ready", timeout=CONNECT_S, trust_env=False
            ).json()
        except (httpx.HTTPError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _read_answer(answer: httpx.Response) -> Json:
    try:
        document = answer.json()
    except json.JSONDecodeError:
        document = {"detail": f"vpp serve answered {answer.status_code}; its log says why"}
    if answer.is_success:
        assert isinstance(document, dict)
        return document
    detail = str(document.get("detail", answer.status_code))
    raise OperationRefused(detail, HTTPStatus(answer.status_code), document.get("faults", ()))


def find_service(state_dir: Path) -> RunningService | None:
    """Return the service that runs on this state directory, or None.

    Raises:
        OperationRefused: Its process lives and does not answer; writing beside it would race it.
    """
    try:
        card = json.loads((state_dir / SERVICE_FILE).read_text())
        port, pid = int(card["port"]), int(card["pid"])
        token = (state_dir / TOKEN_FILE).read_text().strip()
    except (OSError, ValueError, KeyError):
        return None
    if not _alive(pid):
        return None
    try:
        health = httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=CONNECT_S * 5, trust_env=False)
        if health.is_success and health.json().get("pid") == pid:
            return RunningService(port, pid, token)
    except httpx.TimeoutException as failure:
        raise OperationRefused(
            f"vpp serve (process {pid}) does not answer on port {port}; wait, or end it and ask again",
            HTTPStatus.GATEWAY_TIMEOUT,
        ) from failure
    except (httpx.HTTPError, ValueError):
        pass  # nobody there, or somebody else: the card is left over from a service that was killed
    return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def post_card(state_dir: Path, *, port: int, token: str) -> None:
    """Leave word where this process listens, readable by its user only."""
    for name, text in (
        (TOKEN_FILE, token + "\n"),
        (SERVICE_FILE, json.dumps({"port": port, "pid": os.getpid(), "token_file": TOKEN_FILE}) + "\n"),
    ):
        draft = state_dir / f"{name}.new"
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        draft.replace(state_dir / name)


def remove_card(state_dir: Path) -> None:
    """Take the word back at the end; the token goes with it."""
    for name in (SERVICE_FILE, TOKEN_FILE):
        (state_dir / name).unlink(missing_ok=True)
