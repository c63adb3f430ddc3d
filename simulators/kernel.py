"""Virtual time: a heap of timed actions and one source of chance. Same seed, same history.

No event loop runs here. The product's coroutines never wait for anything real in a simulation, so they
are driven by hand: what would be a suspension is an explicit step, and nothing is left to a scheduler.
"""

import hashlib
import heapq
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

from vpp.domain.interval import to_epoch

ResultT = TypeVar("ResultT")
Action = Callable[[], None]


class Kernel:
    """The clock of a simulated world, in milliseconds since its beginning, and what happens when."""

    def __init__(self, seed: int, starts_at: datetime) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now_ms = 0
        self.steps = 0
        self._starts_at = starts_at
        self._starts_s = to_epoch(starts_at)
        self._due: list[tuple[int, int, Action]] = []
        self._given = 0
        self._trace = hashlib.blake2b(digest_size=16)

    @property
    def now_s(self) -> int:
        """Return whole seconds since 1970."""
        return self._starts_s + self.now_ms // 1000

    def now(self) -> datetime:
        """Return the present instant."""
        return self._starts_at + timedelta(milliseconds=self.now_ms)

    def after(self, delay_ms: int, action: Action) -> None:
        """Let something happen later; of two at the same instant, the one asked for first comes first."""
        self._given += 1
        heapq.heappush(self._due, (self.now_ms + delay_ms, self._given, action))

    def run_until(self, until_ms: int, after_each: Action) -> None:
        """Do everything due before an instant, then stand at it. ``after_each`` follows every action."""
        while self._due and self._due[0][0] < until_ms:
            self.now_ms, _, action = heapq.heappop(self._due)
            self.steps += 1
            action()
            after_each()
        self.now_ms = until_ms

    def note(self, *words: bytes) -> None:
        """Write into the trace what happened now."""
        self._trace.update(b"".join((b"%d" % self.now_ms, *words)))

    def trace_hash(self) -> str:
        """Return the hash of everything that was noted so far, in hex."""
        return self._trace.copy().hexdigest()


def drive(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine to its end at once; whatever it yields to lets nobody else in."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            result: ResultT = end.value
            return result
