"""A process that has read the whole product and forks a controller whenever one is wanted.

A fork is a process of its own, with its own files, sockets and death by ``kill -9``; it only spares the two
seconds that importing takes. Orders are lines of JSON on standard input: ``{"words": [...], "variables":
{...}, "log": path}``; answers are the new process's id, and when it has ended, how.
"""

import asyncio
import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


class Life:
    """One life of a forked program, as its keeper sees it."""

    def __init__(self, pid: int, ended: "asyncio.Future[int]") -> None:
        self.pid = pid
        self._ended = ended

    @property
    def over(self) -> bool:
        """Return whether it has ended."""
        return self._ended.done()

    async def wait(self) -> int:
        """Return how it ended: its exit code, or the negative number of the signal that killed it."""
        return await asyncio.shield(self._ended)

    async def ends_within(self, seconds: float) -> bool:
        """Return whether it ends before so many seconds are over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), seconds)
        return self.over

    def signal(self, number: int) -> None:
        """Send a signal, if it still lives."""
        if not self.over:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def kill(self) -> None:
        """Kill it without warning."""
        self.signal(signal.SIGKILL)
        await self.wait()


@dataclass(slots=True)
class Nursery:
    """The forking process, from outside. It keeps one life at a time. Use as an async context manager."""

    variables: Mapping[str, str]
    log: Path
    _process: asyncio.subprocess.Process = field(init=False)
    _reading: "asyncio.Task[None]" = field(init=False)
    _born: "asyncio.Future[int]" = field(init=False)
    _ended: "asyncio.Future[int]" = field(init=False)
    _life: Life | None = None

    async def __aenter__(self) -> Self:
        clean = {name: text for name, text in os.environ.items() if not name.startswith("VPP_")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulators.chaos.nursery",
            env=clean, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._life is not None:
            await self._life.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading

    async def start(self, *words: str, **variables: str) -> Life:
        """Return a new life of ``vpp WORDS`` with these variables beside the usual."""
        assert self._life is None or self._life.over
        loop = asyncio.get_running_loop()
        self._born, self._ended = loop.create_future(), loop.create_future()
        order = {"words": words, "variables": {**self.variables, **variables}, "log": str(self.log)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._life = Life(await self._born, self._ended)
        return self._life

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "code" in said:
                self._ended.set_result(said["code"])
            else:
                self._born.set_result(said["pid"])


def _say(**facts: int) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _live(words: Sequence[str], variables: Mapping[str, str], log: str) -> None:
    """Become the program and never return."""
    code = 1
    try:
        for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, _APPEND), (2, log, _APPEND)):
            opened = os.open(path, flags, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        os.environ.update(variables)
        sys.argv = ["vpp", *words]
        program: Any = importlib.import_module(
            "simulators.chaos.later" if words[:1] == ["later"] else "vpp.entrypoints.cli"
        )
        program.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)


_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def serve_orders() -> None:
    """Fork a program for each order, one after the other, until no more orders come."""
    for module in ("vpp.entrypoints.cli", "vpp.entrypoints.service", "simulators.chaos.later", "apprise"):
        importlib.import_module(module)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _live(order["words"], order["variables"], order["log"])
        _say(pid=pid)
        _, status = os.waitpid(pid, 0)
        _say(code=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve_orders()
