"""Plans, ticks and acknowledgements, kept in memory."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from vpp.adapters.memory.chain import MemoryChain
from vpp.domain.command import AckBatch, DispatchTick, Pair, PlanRevision, Refusal, discharged_against
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import column
from vpp.domain.tick_basis import TickBasis
from vpp.ports import ConflictingFact, OwnerSpoke, StaleEpoch
from vpp.wire import facts

WordsSince = Callable[[tuple[int, int]], Sequence[tuple[int, str | None]]]


class MemoryDispatch:
    """The dispatch's part of the memory store."""

    def __init__(self, chain: MemoryChain, words_since: WordsSince) -> None:
        self._tick_chain = chain
        self._words_since = words_since
        self._epoch = 0
        self._holder, self._lead_until = "", 0.0
        self._ticks: dict[int, DispatchTick] = {}
        self._event_ticks: dict[str, dict[int, DispatchTick]] = {}  # with that event's orders only
        self._bases: dict[int, TickBasis] = {}
        self._revisions: dict[str, dict[int, PlanRevision]] = {}
        self._acks: dict[tuple[int, int, int], tuple[int, str, Refusal | None]] = {}

    async def take_epoch(self, *, at: datetime) -> int:
        """Become leader: store and return ``max(stored + 1, seconds since 1970)``."""
        self._epoch = max(self._epoch + 1, to_epoch(at))
        self._lead_until = 0.0
        return self._epoch

    async def take_free_lead(self, *, at: datetime, holder: str, lease_s: int) -> int | None:
        """Become leader as ``take_epoch`` does, unless somebody else's lease runs: then None."""
        if self._lead_until > time.monotonic() and self._holder != holder:
            return None
        epoch = await self.take_epoch(at=at)
        self._holder, self._lead_until = holder, time.monotonic() + lease_s
        return epoch

    async def renew_lead(self, epoch: int, *, lease_s: int) -> bool:
        """Let the lease of this epoch run for so long from now; False for a replaced leader."""
        if epoch != self._epoch:
            return False
        self._lead_until = time.monotonic() + lease_s
        return True

    async def last_tick(self) -> Pair:
        """Return epoch and number of the newest committed tick, zeros before any."""
        newest = max(self._ticks, default=0)
        return Pair(self._ticks[newest].epoch, newest) if newest else Pair(0, 0)

    async def commit(
        self,
        tick: DispatchTick,
        revisions: Sequence[PlanRevision],
        *,
        words: tuple[int, int] | None = None,
        basis: TickBasis | None = None,
    ) -> None:
        """Commit a tick, its revisions and what was known. Raises StaleEpoch for a replaced leader.

        Raises OwnerSpoke when the owner of a site that it discharges spoke after ``words``.
        """
        if tick.epoch != self._epoch:
            raise StaleEpoch(
                f"tick {tick.number} was made in epoch {tick.epoch}; the leader's is {self._epoch}"
            )
        if words is not None and (spoken := discharged_against(tick, self._words_since(words))):
            raise OwnerSpoke(spoken)
        new: dict[tuple[str, int], PlanRevision] = {}
        for revision in revisions:
            key = (revision.event_id, revision.revision)
            known = self._revisions.get(revision.event_id, {}).get(revision.revision, new.get(key))
            if known is not None and not facts.same(known, revision):
                raise ConflictingFact(
                    f"event {revision.event_id} has another plan revision {revision.revision}"
                )
            if known is None:
                new[key] = revision
        known_tick = self._ticks.get(tick.number)
        if known_tick is not None and not facts.same(known_tick, tick):
            raise ConflictingFact(f"another tick {tick.number} is committed")
        for (event_id, number), revision in new.items():
            self._revisions.setdefault(event_id, {})[number] = revision
        if known_tick is None:
            self._tick_chain.append("dispatch_tick", tick)
            self._ticks[tick.number] = tick
            for event_id, part in tick.by_event():
                self._event_ticks.setdefault(event_id, {})[tick.number] = part
            if basis is not None:
                self._bases[tick.number] = basis

    async def revisions(self, event_id: str, *, after: int = 0) -> Sequence[PlanRevision]:
        """Return an event's plan revisions with a number above ``after``, in order."""
        found = self._revisions.get(event_id, {})
        return [found[number] for number in sorted(found) if number > after]

    async def ticks(self, *, since: datetime) -> Sequence[DispatchTick]:
        """Return ticks committed at or after a time, in order."""
        return [self._ticks[number] for number in sorted(self._ticks) if self._ticks[number].at >= since]

    async def event_ticks(self, event_id: str, *, after: int = 0) -> Sequence[DispatchTick]:
        """Return the ticks above ``after`` that hold an order of the event, with that event's orders only."""
        found = self._event_ticks.get(event_id, {})
        return [found[number] for number in sorted(found) if number > after]

    async def bases(self, *, since: datetime, until: datetime | None = None) -> Sequence[TickBasis]:
        """Return what was known at the ticks committed from ``since`` through ``until``, in order."""
        return [
            self._bases[number]
            for number in sorted(self._bases)
            if self._ticks[number].at >= since and (until is None or self._ticks[number].at <= until)
        ]

    async def record_acks(self, acks: AckBatch) -> None:
        """Store what gateways decided, keyed (site, epoch, sequence); the first word stays."""
        keys = zip(acks.site_no.tolist(), acks.epoch.tolist(), acks.sequence.tolist(), strict=True)
        words = zip(acks.at_s.tolist(), acks.event_id, acks.refusal, strict=True)
        for key, word in zip(keys, words, strict=True):
            self._acks.setdefault(key, word)

    async def count_acks(self, event_id: str) -> Mapping[Refusal | None, int]:
        """Return how many answers to an event's commands gave each refusal; None counts the accepted."""
        issued = {(tick.epoch, tick.number) for tick in await self.event_ticks(event_id)}
        return Counter(
            word[2] for key, word in self._acks.items() if key[1:] in issued and word[1] == event_id
        )

    async def acks(self, *, since: datetime, site_no: int | None = None, refused: bool = False) -> AckBatch:
        """Return acknowledgements of commands issued at or after a time, by command and site."""
        issued = {(tick.epoch, tick.number) for tick in self._ticks.values() if tick.at >= since}
        found = sorted(
            (
                (key, word)
                for key, word in self._acks.items()
                if key[1:] in issued and site_no in (None, key[0]) and not (refused and word[2] is None)
            ),
            key=lambda each: (*each[0][1:], each[0][0]),
        )
        return AckBatch(
            site_no=column(key[0] for key, _ in found),
            epoch=column(key[1] for key, _ in found),
            sequence=column(key[2] for key, _ in found),
            at_s=column(word[0] for _, word in found),
            event_id=tuple(word[1] for _, word in found),
            refusal=tuple(word[2] for _, word in found),
        )
