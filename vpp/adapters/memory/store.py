"""A whole store in memory: what simulations and tests run the real stages on."""

from collections.abc import Sequence

from vpp.adapters.memory.accounts import MemoryAccounts
from vpp.adapters.memory.books import MemoryBooks
from vpp.adapters.memory.chain import MemoryChain
from vpp.adapters.memory.courses import MemoryCourses
from vpp.adapters.memory.dispatch import MemoryDispatch
from vpp.adapters.memory.disputes import MemoryDisputes
from vpp.adapters.memory.meter import MemoryMeter
from vpp.adapters.memory.nominations import MemoryNominations
from vpp.adapters.memory.notices import MemoryNotices
from vpp.adapters.memory.prices import MemoryPrices
from vpp.adapters.memory.signals import MemorySignals
from vpp.domain.access import TrailEntry
from vpp.domain.enrollment import Enrollment
from vpp.domain.grid_event import Grant, GridEvent
from vpp.domain.notice import Forgotten
from vpp.ports import StoreUnavailable


class MemoryStore(
    MemoryMeter,
    MemorySignals,
    MemoryDispatch,
    MemoryCourses,
    MemoryBooks,
    MemoryDisputes,
    MemoryNominations,
    MemoryPrices,
    MemoryAccounts,
    MemoryNotices,
):
    """``ports.Store`` without a disk. No method awaits anything, so each is one transaction."""

    def __init__(self) -> None:
        chain = MemoryChain()
        MemoryMeter.__init__(self)
        MemorySignals.__init__(self, chain)
        MemoryDispatch.__init__(self, chain, self.words_since)
        MemoryCourses.__init__(self)
        MemoryBooks.__init__(self, chain)
        MemoryDisputes.__init__(self)
        MemoryNominations.__init__(self)
        MemoryPrices.__init__(self)
        MemoryAccounts.__init__(self)
        MemoryNotices.__init__(self)
        self._open = True

    async def append_version(self, version: GridEvent, *, actor: str, told: TrailEntry | None = None) -> None:
        """Append a person's version (such as a cancel), with its trail entry; a known one adds neither."""
        if self._append(version, actor=actor) and told is not None:
            await self.leave_trail([told])

    async def grant(self, grant: Grant, told: TrailEntry | None = None) -> None:
        """Append a person's leave with its trail entry; granting twice keeps the first and adds neither."""
        grants = self._grants.setdefault(grant.event_id, {})
        new = (grant.version, grant.kind) not in grants
        if new:
            grants[grant.version, grant.kind] = grant
        if new and told is not None:
            await self.leave_trail([told])

    async def read_homes(self, owner_id: str, entry: TrailEntry) -> Sequence[Enrollment]:
        """Return an owner's homes, with the entry that says who reads them stored in the same transaction."""
        await self.leave_trail([entry])
        return await self.enrollments(owner_ids=[owner_id])

    async def forget_owner(self, owner_id: str, entry: TrailEntry) -> Forgotten:
        """Delete an owner's address, messages, calendar feed and logins; keep the entry that says so."""
        names = {user.name for user in self._users.values() if user.owner_id == owner_id}
        mine = [key for key, (notice, _) in self._notices.items() if notice.party == owner_id]
        known = self._contacts.pop(owner_id, None)
        feeds = sum(feed.owner_id == owner_id for feed in self._feeds.values())
        for key in mine:
            del self._notices[key]
        await self.close_calendar(owner_id)
        self._users = {name: user for name, user in self._users.items() if name not in names}
        self._sessions = {key: each for key, each in self._sessions.items() if each.user_name not in names}
        self._login_links = {
            key: each for key, each in self._login_links.items() if each.user_name not in names
        }
        await self.leave_trail([entry])
        return Forgotten(int(known is not None), len(mine), feeds, len(names))

    async def ready(self) -> None:
        """Return when the store answers. Raises StoreUnavailable after it was closed."""
        if not self._open:
            raise StoreUnavailable("the memory store was closed")

    async def close(self) -> None:
        """Forget nothing: a test may look inside afterwards."""
        self._open = False
