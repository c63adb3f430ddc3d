"""Notices under kills, compared with the database: none lost, and one twice only where that may be.

Read between two lives, when nothing changes. A notice may arrive twice only where the controller died between
sending it and noting that: of each party one at most, because each is written to in order.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from simulators.chaos.checks import Auditor
from simulators.chaos.wire import Fault
from simulators.mailbox import Mailbox
from vpp.domain.notice import Alarm, Delivery, Notice

Written = Mapping[str, tuple[Notice, Delivery]]
MOST_OF_A_PARTY = 10_000


@dataclass(slots=True)
class Outbox:
    """Who is written to, what had arrived when the last life was over, and what was noted as sent then."""

    mailbox: Mailbox
    parties: set[str] = field(default_factory=set)
    again: int = 0  # notices that arrived once more, each after a death before it was noted
    deaths: int = 0  # lives that ended with a notice sent and not noted
    _seen: int = 0
    _arrived: set[str] = field(default_factory=set)
    _noted: set[str] = field(default_factory=set)

    async def life_over(self, auditor: Auditor) -> list[Fault]:
        """Return what arrived in the life that is over and should not have."""
        fresh = self.mailbox.keys[self._seen :]
        if not fresh:
            return []
        self._seen += len(fresh)
        return self.faults(fresh, await self.written(auditor))

    def faults(self, fresh: Sequence[str], written: Written) -> list[Fault]:
        """Compare what arrived in one life with what the database holds after it, and remember both."""
        known = set(fresh) & set(written)
        found: list[Fault] = [
            ("wrong", f"notice {key} arrived and is not stored") for key in sorted(set(fresh) - known)
        ]
        for key, times in Counter(fresh).items():
            if key in self._noted:
                found.append(("doubled", f"notice {key} arrived again after it was noted as sent"))
            elif key in known and times > max(1, written[key][1].tries):
                found.append(("doubled", f"notice {key} arrived {times} times in one life"))
        self.again += len(set(fresh) & self._arrived)
        self._arrived |= set(fresh)
        self._noted = {key for key, (_, delivery) in written.items() if delivery.sent_at is not None}
        unnoted = Counter(written[key][0].party for key in known - self._noted)
        self.deaths += bool(unnoted)
        found += [
            ("wrong", f"{count} notices to {party} arrived in one life and were not noted")
            for party, count in sorted(unnoted.items())
            if count > 1
        ]
        return found

    async def written(self, auditor: Auditor) -> Written:
        """Return every notice by its key, with how far it came."""
        async with auditor.opened() as (store, _):
            return {
                notice.key: (notice, delivery)
                for party in sorted(self.parties)
                for notice, delivery in await store.notices_of(party, limit=MOST_OF_A_PARTY)
            }

    async def missing(self, auditor: Auditor) -> list[Fault]:
        """Return the notices that did not arrive, or are not noted as sent."""
        return self.missing_of(await self.written(auditor))

    def missing_of(self, written: Written) -> list[Fault]:
        """Return those of ``written`` that did not arrive so far, or are not noted as sent."""
        arrived = set(self.mailbox.keys)
        return [
            ("lost", f"notice {key} was written and {'not noted' if key in arrived else 'did not arrive'}")
            for key, (_, delivery) in sorted(written.items())
            if key not in arrived or delivery.sent_at is None
        ]


def alarm_faults(
    alarms: Sequence[Alarm], answered: Mapping[str, str], notices: Sequence[Notice], known: Set[str]
) -> list[Fault]:
    """Return the alarms that are gone, or not answered although they were, and those told after an answer.

    Args:
        alarms: All there are, read after the notices.
        answered: By an alarm's key, whose answer was taken.
        notices: What was written to the staff.
        known: Keys of alarms that were seen before.
    """
    stored = {each.key: each for each in alarms}
    found: list[Fault] = [
        ("lost", f"alarm {key} was raised and is not stored") for key in sorted(known - set(stored))
    ]
    for key, actor in sorted(answered.items()):
        if key in stored and stored[key].answered_by != actor:
            found.append(("lost", f"alarm {key} was answered by {actor}, and nothing stored says so"))
    for notice in notices:
        alarm = stored.get(notice.facts.get("alarm", ""))
        if alarm is None or alarm.told_at is None:
            found.append(("wrong", f"notice {notice.key} tells of an alarm that is not noted as told"))
        elif alarm.answered_at is not None and notice.at > alarm.answered_at:
            found.append(("wrong", f"alarm {alarm.key} was told again after it was answered"))
    return found
