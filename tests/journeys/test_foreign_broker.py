"""The whole line on a real broker, with clients that are not ours: signal in, batteries out, owners paid."""

import json
from pathlib import Path

from tests.journeys.operator import SOON_S, Operator, always_in_season, enrolled, notification, stamp, until
from tests.mosquitto import Mosquitto

HOMES = 12
ASKED_KW = 20
EVENT = "ev-journey"


async def test_signal_by_mosquitto_pub_becomes_discharge_and_dollars(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker:
        operator = Operator(tmp_path, broker, programs=always_in_season(tmp_path / "programs"))
        homes = await enrolled(operator, HOMES)
        fleet = ("simulators", "fleet", "--broker", broker.url, "--sites", str(homes / "sites.csv"))
        async with operator.served(), operator.listening(), operator.running(*fleet):
            await _everyone_reports(operator)
            await _homes_answer_a_signal(operator)
            await _duplicate_and_smaller_version(operator)
            await _owner_opts_out(operator)
            await _cancel_releases_everyone(operator)
            await _owners_are_paid(operator)


async def _everyone_reports(operator: Operator) -> None:
    async def reported() -> bool:
        return len({body["site_id"] for body in operator.said("telemetry")}) >= HOMES - 2

    await until(reported, "the homes to report")


async def _homes_answer_a_signal(operator: Operator) -> None:
    await operator.signal(
        "caiso", notification("CREATE", EVENT, modified_at=stamp(), kw=ASKED_KW, minutes=60)
    )

    async def accepted() -> bool:
        return bool(operator.said("receipt", schema="vpp.signal-receipt/1", state="accepted"))

    async def acknowledged() -> bool:
        return sum(_commanded(operator).values()) == ASKED_KW * 1000 and len(
            operator.said("ack", state="accepted")
        ) >= len(_commanded(operator))

    async def delivering() -> bool:
        newest = {body["site_id"]: body["battery_w"] for body in operator.said("telemetry")}
        return sum(watts for watts in newest.values() if watts > 0) >= ASKED_KW * 900

    await until(accepted, "the receipt", within_s=SOON_S)
    await until(acknowledged, "every command to be acknowledged", within_s=SOON_S)
    await until(delivering, "measured power")


def _commanded(operator: Operator) -> dict[str, int]:
    """Return the watts each site was last told to give, zero after a release."""
    return {body["site_id"]: body["discharge_w"] for body in operator.said("command")}


async def _duplicate_and_smaller_version(operator: Operator) -> None:
    heard = next(json.loads(payload) for topic, payload in operator.heard if topic == "grid/v1/caiso/event")
    await operator.signal("caiso", heard)

    async def duplicate() -> bool:
        return bool(operator.said("receipt", state="duplicate"))

    await until(duplicate, "the duplicate's receipt", within_s=SOON_S)

    await operator.signal(
        "caiso", notification("UPDATE", EVENT, modified_at=stamp(), kw=ASKED_KW - 5, minutes=60)
    )

    async def lowered() -> bool:
        return sum(_commanded(operator).values()) == (ASKED_KW - 5) * 1000

    await until(lowered, "the smaller version's commands", within_s=SOON_S)


async def _owner_opts_out(operator: Operator) -> None:
    leaving = next(site for site, watts in _commanded(operator).items() if watts > 0)
    await operator.vpp("site", "opt-out", leaving, "--event", EVENT)

    async def released() -> bool:
        return (
            bool(operator.said("command", site_id=leaving, action="release"))
            and _commanded(operator)[leaving] == 0
        )

    await until(released, "the owner's release", within_s=SOON_S)
    why = await operator.vpp("site", "why", leaving, "--event", EVENT)
    assert why["reason"] == "opted_out"


async def _cancel_releases_everyone(operator: Operator) -> None:
    shown = await operator.vpp("event", "show", EVENT)
    assert shown["plan"]["shortfall_w"] == 0
    await operator.signal(
        "caiso",
        {"objectType": "EVENT", "operation": "DELETE", "object": {"id": EVENT, "objectType": "EVENT"}},
    )

    async def all_released() -> bool:
        return not any(_commanded(operator).values())

    await until(all_released, "everyone's release", within_s=SOON_S)
    # A command, a change, a release and a few repeats each: nobody is told the same thing in a loop.
    assert len(operator.said("command")) < 8 * HOMES


async def _owners_are_paid(operator: Operator) -> None:
    used = {body["site_id"] for body in operator.said("command", action="discharge")}

    async def metered() -> bool:
        return used <= {body["site_id"] for body in operator.said("receipt", schema="vpp.receipt/1")}

    await until(metered, "a receipt for every home that helped")
    settled = await operator.vpp("settle", EVENT)
    books = await operator.vpp("ledger", "verify")
    shown = await operator.vpp("event", "show", EVENT)
    assert settled["event_id"] == EVENT
    assert shown["settlement"]["delivered_wh"] > 0
    assert float(shown["settlement"]["paid_usd"]) > 0
    assert books["balanced"] is True
