"""One run: the preparation, events under kills, the money some days later, and the audit after each kill."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from simulators.chaos.at_rest import AFTER_RESTART_S, Fleet, asked_w, steady
from simulators.chaos.checks import Auditor, Executed, misspent
from simulators.chaos.nursery import Life
from simulators.chaos.outbox import Outbox
from simulators.chaos.patience import times_busy, times_many, until
from simulators.chaos.people import Api, People
from simulators.chaos.plan import AT_ANY_INSTANT, AT_REST, BROKER, BY_TIMER, Kill, hours_touched, kills
from simulators.chaos.report import Tally
from simulators.chaos.stage import KILLED, NotSetUp, Stage, staged
from simulators.chaos.takeover import take_turns
from simulators.chaos.visitors import POINTS, RAISED_S, Visitors
from simulators.chaos.wire import Fault, Listener
from simulators.mailbox import a_mailbox
from vpp.adapters.clock import WallClock
from vpp.domain.ledger import Account, balances

OBEY_S = 5.0  # an owner's no, a cancel, and the first command on a broker that is back
READY_S = 30.0
CATCH_UP_S = 30.0
RESTED_S = 10.0  # a fleet that goes on changing for longer is not at rest, and nothing is amiss
TRIES = 8
BASELINE_DAYS = 4
BEFORE_TOLD_S = 4.0  # a life so short sends no notice
ARRIVED_S = 0.1  # until a notice that a dead controller sent is taken
CHAIN_EVERY = 10  # kills; it is read from its first link


class Violated(Exception):
    """Something that must always hold did not."""


@dataclass(slots=True)
class Story:
    """The run while it goes on."""

    stage: Stage
    people: People
    visitors: Visitors
    auditor: Auditor
    tally: Tally
    random: Random
    say: Callable[[str], None]
    executed: Executed = field(default_factory=Executed)

    @property
    def many(self) -> float:
        """Return how much longer everything takes than with a few homes."""
        return times_many(len(self.stage.site_ids))

    async def run(self, count: int, takeovers: int) -> None:
        """Let so many kills and takeovers happen, then let everything come to its end. Raises Violated."""
        for number, kill in enumerate(kills(count, self.random), start=1):
            if kill.target == BROKER:
                await self._kill_broker()
            elif kill.target == AT_REST:
                await self._kill_at_rest()
            else:
                await self._kill_controller(kill)
            self.tally.busy = max(self.tally.busy, times_busy())
            self.say(f"{number}/{count} {kill.setting or kill.target}")
            if number % CHAIN_EVERY == 0:
                await self._audit(chain=True)
        if takeovers:
            people, auditor = self.people, self.auditor
            await self._found(
                await take_turns(self.stage, people, auditor, self.tally, self.random, takeovers)
            )
        await self.come_to_rest()

    @asynccontextmanager
    async def life(self, setting: str) -> AsyncIterator[Life]:
        """Give a controller that is ready, or already dead where it was told to die early."""
        began = time.monotonic()
        await self._found(await self.visitors.outbox.life_over(self.auditor))
        life = await self.stage.nursery.start("serve", VPP_CRASH_AT=setting)

        async def ready() -> bool:
            return life.over or await self.people.api.ready(life.pid)

        try:
            if not await until(ready, READY_S):
                await self._found([("wrong", f"vpp serve was not ready {READY_S:.0f} s after its start")])
            if not life.over:
                self.tally.life_s.append(time.monotonic() - began)
            yield life
        finally:
            await life.kill()
            if time.monotonic() - began > BEFORE_TOLD_S:
                await asyncio.sleep(ARRIVED_S)

    async def _kill_controller(self, kill: Kill) -> None:
        async with self.life(kill.setting) as life:
            if not life.over:
                await self.people.insist(life.pid)
                await self.promises(life)
            if kill.target == AT_ANY_INSTANT:
                asking = asyncio.create_task(self.people.provoke(life.pid, "publish"))
                await life.ends_within(self.random.random() ** 2)
                life.signal(9)
                await asking
            if kill.point:
                await self._drive_to(life, kill.point)
            reached = life.over
            await life.kill()
        if await life.wait() != KILLED:
            await self._found([("wrong", f"vpp serve ended by itself; see {self.stage.log}")])
        self.tally.kills[kill.target if reached and kill.point else AT_ANY_INSTANT] += 1
        if not reached and kill.point:
            self.tally.missed[kill.target] += 1

    async def _drive_to(self, life: Life, point: str) -> None:
        """Do what leads to a point, a few times, until the controller died there."""
        slow = point in BY_TIMER
        for _ in range(2 if slow else TRIES):
            if life.over:
                return
            await (self.visitors if point in POINTS else self.people).provoke(life.pid, point)
            await life.ends_within(RAISED_S * times_busy() if slow else 0.3 * self.many)

    async def _kill_broker(self) -> None:
        """Kill the broker in the middle of an event; something is due as soon as it is back."""
        async with self.life("") as life:
            await self.people.insist(life.pid)
            if self.people.event_id is None:
                await self.people.begin_event()
            await self.promises(life)
            await self._somebody_takes_part()
            await self.stage.broker.kill()
            await self.people.say_no(life.pid)
            await asyncio.sleep(self.random.random())
            await self.stage.broker.start()
            opened_at, heard = self.stage.broker.opened_at, self.people.listener.heard

            async def commanded() -> bool:
                return heard.last_command_at > opened_at

            if not await until(commanded, OBEY_S):
                await self._found([("wrong", f"no command {OBEY_S:.0f} s after the broker's port opened")])
            self.tally.command_s.append(heard.last_command_at - opened_at)
            self.tally.kills[BROKER] += 1
            await self.promises(life)

    async def _kill_at_rest(self) -> None:
        """Kill the controller while an event is on and nothing changes: its next life moves no power."""
        people = self.people
        async with self.life("") as life:
            await people.insist(life.pid)
            if people.event_id is None:
                await people.begin_event()
            await self.promises(life)
            await self._somebody_takes_part()

            async def at_rest() -> bool:
                return not await self.auditor.unplanned() and await steady(people)

            rested = await until(at_rest, RESTED_S)
            before = await self._fleet()
        self.tally.kills[AT_REST if rested else AT_ANY_INSTANT] += 1
        if not rested:
            self.tally.missed[AT_REST] += 1
        async with self.life("") as life:
            await asyncio.sleep(AFTER_RESTART_S)
            after = await self._fleet()
            moved = before.moved_by(after) if rested else None
            await self._found([("wrong", moved)] if moved else [])
            await self.promises(life)

    async def _fleet(self) -> Fleet:
        assert self.people.event_id is not None
        short_w = await self.auditor.short_w(self.people.event_id)
        return Fleet(asked_w(self.people), (await self._report())["discharging"], short_w)

    async def _somebody_takes_part(self) -> None:
        """Wait until an owner could say no, so that something is due when the broker is back."""

        async def takes_part() -> bool:
            return bool(self.people.taking_part())

        if not await until(takes_part, OBEY_S):
            await self.people.change_power()
            await self.people.tell_homes("speak")
        if not await until(takes_part, CATCH_UP_S):
            await self._found([("lost", "nobody is commanded although an event is on")])

    async def promises(self, life: Life) -> None:
        """Wait for what must happen in seconds, then read the database beside the controller."""
        began = time.monotonic()

        async def obeyed() -> bool:
            return life.over or not self.people.disobeyed()

        if not await until(obeyed, OBEY_S):
            site_id = self.people.disobeyed()[0]
            said = f"site {site_id} discharges {OBEY_S:.0f} s after its owner's no and a restart"
            await self._found([("wrong", said)])
        if time.monotonic() - began > 0.05:
            self.tally.obeyed_s.append(time.monotonic() - began)

        async def planned() -> bool:
            return life.over or not await self.auditor.unplanned()

        if not await until(planned, CATCH_UP_S):
            await self._found([("lost", f"no plan answers {', '.join(await self.auditor.unplanned())}")])
        await self._audit()
        await self._found(await self.visitors.faults(life.pid))

    async def _audit(self, *, chain: bool = False) -> None:
        await self._found(await self.auditor.audit(self.people.listener.heard, chain=chain))
        await self._report()
        self.auditor.over.update(self.people.ended[:-1])

    async def _found(self, faults: Sequence[Fault]) -> None:
        self.tally.faults += faults
        if faults:
            raise Violated(faults[0][1])

    async def come_to_rest(self) -> None:
        """Let nobody be killed any more: everything wanted is done, everybody is released and heard."""
        people, heard = self.people, self.people.listener.heard
        async with self.life("") as life:

            async def answered() -> bool:
                await people.insist(life.pid)
                return not people.wishes and not people.listener.pending()

            if not await until(answered, CATCH_UP_S):
                await self._found([("lost", "a signal or a wish is not answered although nobody is killed")])
            await self.promises(life)
            if people.event_id is not None:
                await people.end_event(life.pid)

            async def released() -> bool:
                now = WallClock().now()
                return not any(
                    heard.commanded()[site_id] and command.expires_at > now
                    for site_id, (command, _) in heard.newest.items()
                )

            if not await until(released, OBEY_S):
                await self._found([("wrong", f"a home discharges {OBEY_S:.0f} s after the last cancel")])

            await self.visitors.leave_address(life.pid, self.visitors.leaving)
            await self.visitors.open_calendar(life.pid, self.visitors.leaving)
            await self._everybody_told(life)
            if not await until(self._all_confirmed, CATCH_UP_S * self.many):
                await self._found([("lost", "readings wait for a receipt although nobody is killed")])
            for event_id in people.ended:
                await people.api.ask(life.pid, "POST", f"/events/{event_id}/settlement")
            await self._audit(chain=True)
            await self._found(await self.auditor.made_again())
        await self._count()

    async def _everybody_told(self, life: Life) -> None:
        """Wait until every notice arrived and is noted, and every alarm that stands was told."""
        visitors = self.visitors

        async def told() -> bool:
            return not (await visitors.outbox.missing(self.auditor) or await visitors.untold())

        if not await until(told, CATCH_UP_S):
            await self._found(await visitors.outbox.missing(self.auditor) + await visitors.untold())
        await self._found(await visitors.faults(life.pid))

    async def _all_confirmed(self) -> bool:
        """Let the homes send what they hold, if they hold anything, and give it time to be stored."""
        await self.people.tell_homes("speak")
        for _ in range(20):
            await asyncio.sleep(0.5 * self.many)
            if (await self._report())["unconfirmed"] == 0:
                return True
        return False

    async def _report(self) -> dict[str, Any]:
        report = await self.people.report_of_homes()
        await self._found(self.executed.faults(report["executed"]))
        return report

    async def _count(self) -> None:
        heard = self.people.listener.heard
        self.tally.commands = len(heard.commands)
        self.tally.executed = self.executed.count
        self.tally.receipts = heard.counts["receipt"]
        self.tally.readings = sum(heard.confirmed.values())
        self.tally.events = len(self.people.ended)
        self.tally.notices = len(set(self.visitors.outbox.mailbox.keys))
        self.tally.notices_again = self.visitors.outbox.again
        self.tally.unnoted = self.visitors.outbox.deaths
        self.tally.answers = len(self.visitors.answered)

    async def pay_days_later(self) -> None:
        """Settle for good, pay, call back, correct and pay again; killed at each point. Raises Violated."""
        await self._deed(("settle",), "settlement", "ledger-posted")
        await self._deed(("pay", "first"), "payout")
        await self._deed(("call-back", "first"), "ledger-voided")
        await self._deed(("pay", "second"), "payout")
        await self._deed(("confirm", "second"), "ledger-posted")
        await self._paid_is_settled()
        for back in range(1, BASELINE_DAYS):
            day = (WallClock().now() - timedelta(days=back)).date().isoformat()
            await self._deed(("exclude", "*", day), *(("excluded-day",) if back == 1 else ()))
        for event_id in await self.auditor.settled():
            points = () if self.tally.kills["after-ledger-reversed"] else ("ledger-reversed",)
            await self._deed(("correct", event_id), *points)
        await self._deed(("leave", self.stage.site_ids[-1]), "consent")
        await self._deed(("forget", self.visitors.leaving), "forgetting")
        self.visitors.forget()
        await self._found(await self.auditor.traces(self.visitors.leaving))
        await self._deed(("quiet",), "alarm-end")
        await self._found(await self.visitors.after_the_alarms())
        entries = await self.auditor.entries()
        await self._found(await self.auditor.audit(self.people.listener.heard, chain=True))
        self.tally.entries = len(entries)
        self.tally.paid_micro_dollars = -sum(
            balance.posted
            for (account, _), balance in balances(entries).items()
            if account is Account.PAID_OUT
        )

    async def _deed(self, words: Sequence[str], *points: str) -> None:
        """Do something with the clock ahead, killed before and after each point, then once to its end."""
        for label in [f"{when}-{point}" for point in points for when in ("before", "after")]:
            code = await (await self.stage.nursery.start("later", *words, VPP_CRASH_AT=label)).wait()
            if code == KILLED:
                self.tally.kills[label] += 1
            else:
                self.tally.missed[label] += 1
        code = await (await self.stage.nursery.start("later", *words, VPP_CRASH_AT="")).wait()
        if code != 0:
            await self._found([("lost", f"{' '.join(words)} ended with {code}; see {self.stage.log}")])
        await self._found(await self.auditor.audit(self.people.listener.heard))

    async def _paid_is_settled(self) -> None:
        entries = await self.auditor.entries()
        owed: dict[str, int] = {}
        for entry in entries:
            if entry.settles is not None and entry.resolves is not None:
                owner_id = entry.settles[0]
                paid = -sum(each.amount for each in entry.postings if each.account is Account.OWNER_PAYABLE)
                owed[owner_id] = owed.get(owner_id, 0) + paid
        await self._found(misspent(entries, {owner: amount for owner, amount in owed.items() if amount}))


@asynccontextmanager
async def told(
    folder: Path,
    tally: Tally,
    *,
    homes: int,
    hours: int,
    seed: int,
    database_url: str,
    say: Callable[[str], None],
) -> AsyncIterator[Story]:
    """Give a story whose homes are enrolled and online; its first fault ends it, and the tally names it."""
    began = time.monotonic()
    try:
        with a_mailbox() as mailbox:
            async with (
                staged(
                    folder, homes=homes, hours=hours, seed=seed, database_url=database_url, kills=tally.kills
                ) as stage,
                Listener(stage.broker.url, stage.source) as listener,
            ):
                api, auditor = Api(folder / "state"), Auditor(database_url)
                people = People(api, listener, stage.homes, stage.site_ids, stage.full_w, Random(seed))
                await listener.wait_connected()
                await _everyone_online(people)
                tally.prepared_s = time.monotonic() - began
                say(f"{homes} homes are enrolled and online after {tally.prepared_s:.0f} s")
                visitors = Visitors(people, auditor, Outbox(mailbox), await auditor.owner_ids())
                yield Story(stage, people, visitors, auditor, tally, Random(seed), say)
                await api.close()
    except Violated:
        pass
    tally.wall_s = time.monotonic() - began


async def play(
    folder: Path,
    *,
    count: int,
    takeovers: int,
    homes: int,
    seed: int,
    database_url: str,
    say: Callable[[str], None],
) -> Tally:
    """Return what came of a run of kills; its first fault ended it."""
    database_url = database_url or sqlite_in(folder)
    tally = Tally(seed, homes, database_url.partition(":")[0])
    hours = hours_touched(homes, count, WallClock().now().minute)
    async with told(
        folder, tally, homes=homes, hours=hours, seed=seed, database_url=database_url, say=say
    ) as story:
        await story.run(count, takeovers)
        await story.pay_days_later()
    return tally


def sqlite_in(folder: Path) -> str:
    """Return the database of a run that names none."""
    return f"sqlite:///{folder / 'vpp.sqlite'}"


async def _everyone_online(people: People) -> None:
    async def online() -> bool:
        return bool((await people.report_of_homes())["online"] == len(people.site_ids))

    if not await until(online, CATCH_UP_S * times_many(len(people.site_ids))):
        raise NotSetUp(f"not every home was online within {CATCH_UP_S:.0f} s")
