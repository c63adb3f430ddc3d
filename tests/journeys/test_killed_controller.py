"""A controller killed in mid-event comes back on PostgreSQL, moves no power, and still obeys everybody."""

import asyncio
from pathlib import Path

from tests.journeys.operator import SOON_S, Operator, always_in_season, enrolled, notification, stamp, until
from tests.mosquitto import Mosquitto
from tests.postgres import Postgres

HOMES = 8
TICK_S = 5
ASKED_KW = 12
EVENT = "ev-killed"


async def test_controller_killed_in_mid_event_goes_on_where_it_was(tmp_path: Path) -> None:
    with Postgres() as postgres:
        async with Mosquitto(tmp_path) as broker:
            operator = Operator(
                tmp_path,
                broker,
                programs=always_in_season(tmp_path / "programs"),
                database_url=await postgres.database(),
            )
            operator.environment["VPP_DISPATCH__TICK_S"] = str(TICK_S)
            homes = await enrolled(operator, HOMES)
            fleet = ("simulators", "fleet", "--broker", broker.url, "--sites", str(homes / "sites.csv"))
            async with operator.listening(), operator.served() as first, operator.running(*fleet):
                await _dispatched(operator)
                first.kill()
                await first.wait()
                commanded = _commanded(operator)
                said_before = len(operator.said("command"))
                async with operator.served():
                    await _moves_nobody(operator, commanded, said_before)
                    await _still_obeys(operator)


def _commanded(operator: Operator) -> dict[str, int]:
    return {body["site_id"]: body["discharge_w"] for body in operator.said("command")}


async def _dispatched(operator: Operator) -> None:
    async def reported() -> bool:
        return len({body["site_id"] for body in operator.said("telemetry")}) >= HOMES - 1

    async def acknowledged() -> bool:
        answered = {body["site_id"] for body in operator.said("ack", state="accepted")}
        return sum(_commanded(operator).values()) == ASKED_KW * 1000 and answered >= set(_commanded(operator))

    await until(reported, "the homes to report")
    await operator.signal(
        "caiso", notification("CREATE", EVENT, modified_at=stamp(), kw=ASKED_KW, minutes=60)
    )
    await until(acknowledged, "every command to be acknowledged")

    # An acknowledgement on the wire may not be stored yet; a controller killed then has to ask again.
    async def stored() -> bool:
        each = [await operator.vpp("site", "why", site, "--event", EVENT) for site in _commanded(operator)]
        return all(answer["acknowledged"] >= 1 for answer in each)

    await until(stored, "every acknowledgement to be stored")


async def _moves_nobody(operator: Operator, commanded: dict[str, int], said_before: int) -> None:
    """Watch two ticks: leases are young, so the restarted controller has nothing to say."""
    await asyncio.sleep(2.5 * TICK_S)
    assert operator.said("command")[said_before:] == []
    assert _commanded(operator) == commanded
    shown = await operator.vpp("event", "show", EVENT)
    assert shown["plan"]["planned_w"] == ASKED_KW * 1000


async def _still_obeys(operator: Operator) -> None:
    leaving = next(site for site, watts in _commanded(operator).items() if watts > 0)
    await operator.vpp("site", "opt-out", leaving, "--event", EVENT)

    async def released() -> bool:
        return _commanded(operator)[leaving] == 0

    await until(released, "the owner's release", within_s=SOON_S)
    await operator.vpp("event", "cancel", EVENT)

    async def all_released() -> bool:
        return not any(_commanded(operator).values())

    await until(all_released, "everyone's release", within_s=SOON_S)
    pairs = [(body["epoch"], body["sequence"]) for body in operator.said("command", site_id=leaving)]
    assert pairs == sorted(set(pairs))  # never the same pair twice, never an older one
    books = await operator.vpp("ledger", "verify")
    assert books["balanced"] is True
