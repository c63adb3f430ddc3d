"""A grid operator's server that speaks HTTP: the message of its topic, and the receipt of its topic."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.entrypoints.pages.world import EVENING, PROGRAM, Suburb, a_suburb
from vpp.adapters.memory.broker import MemoryTransport
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.grid_event import GridSource, Operation
from vpp.domain.quantities import Watts
from vpp.entrypoints.operations import signals
from vpp.ports import Packet, StoreUnavailable
from vpp.runner import ASKERS_MOST
from vpp.wire.openadr import Ask, decode_receipt, encode_notification
from vpp.wire.signed import SigningKey, VerifyingKey, sign, split, verify

CAISO = SigningKey(b"c" * 32)
PATH = "/api/v1/sources/caiso/signals"


class ForgetfulStore(MemoryStore):
    """A store that can keep signals and, until it is told to, commit no verdict."""

    decides = True
    keeps = True

    def __init__(self) -> None:
        super().__init__()
        self.kept = asyncio.Event()

    async def decide(self, *arguments: Any, **more: Any) -> None:
        if not self.decides:
            raise StoreUnavailable("the disk is full")
        await super().decide(*arguments, **more)

    async def keep(self, *arguments: Any) -> None:
        if not self.keeps:
            raise StoreUnavailable("the disk is full")
        await super().keep(*arguments)
        self.kept.set()


@dataclass
class Grid:
    """The product with a source that signs, a lab that does not, and whoever speaks HTTP to it."""

    suburb: Suburb
    store: ForgetfulStore
    operator: MemoryTransport
    http: httpx.AsyncClient

    async def post(self, message: bytes, path: str = PATH, **headers: str) -> httpx.Response:
        """Return the answer to a message, the controller turning meanwhile."""
        asked = asyncio.create_task(self.http.post(path, content=message, headers=headers))
        while not asked.done():
            await asyncio.sleep(0)
            await self.suburb.controller.turn()
        return asked.result()

    @property
    def counted(self) -> dict[str, Any]:
        """Return what is counted of signals since the start."""
        topics = self.suburb.controller.traffic()["topics"]
        assert isinstance(topics, dict)
        return dict(topics["event"])

    def state_of(self, answer: httpx.Response) -> tuple[str, str | None]:
        """Return state and reason of a receipt after its signature was checked."""
        assert answer.status_code == 200, answer.text
        keys = self.suburb.desk.keys
        message = split(answer.content, max_bytes=16_384)
        assert message.kid == keys.kid
        receipt = decode_receipt(verify(message, VerifyingKey(keys.public_key)), source="caiso")
        return receipt.state.value, receipt.reason


@pytest.fixture
async def grid(tmp_path: Path) -> AsyncIterator[Grid]:
    store = ForgetfulStore()
    suburb = await a_suburb(tmp_path, homes=3, store=store)
    await store.add_source(GridSource("caiso", CAISO.verifying_key.raw, Watts(10**9), EVENING))
    await store.add_source(GridSource("lab", None, Watts(10**9), EVENING))
    wire = httpx.ASGITransport(app=suburb.app)
    async with (
        MemoryTransport(suburb.broker, "caiso", filters=["grid/v1/caiso/receipt"]) as operator,
        httpx.AsyncClient(transport=wire, base_url="http://127.0.0.1") as client,
    ):
        yield Grid(suburb, store, operator, client)


def a_notification(
    operation: Operation = Operation.CREATE, *, event_id: str = "ev-1", seconds: int = 0, power_w: int = 5_000
) -> bytes:
    """Return an emergency of two hours, said so many seconds after the evening's beginning."""
    at = EVENING + timedelta(seconds=seconds)
    return encode_notification(
        operation, event_id=event_id, program_id=PROGRAM, name="EEA 2", created_at=EVENING, modified_at=at,
        asks=() if operation is Operation.DELETE else (Ask(7_200, power_w=power_w),), starts_at=EVENING,
    )  # fmt: skip


def said(*arguments: Any, **more: Any) -> bytes:
    """Return the same as its source signs it."""
    return sign(a_notification(*arguments, **more), CAISO, "caiso")


async def test_a_posted_signal_is_dispatched_and_answered_by_the_receipt_of_its_topic(grid: Grid) -> None:
    answer = await grid.post(said())
    await grid.suburb.pass_time(30)

    (published,) = grid.operator.received_now()
    assert grid.state_of(answer) == ("accepted", None)
    assert answer.content == published.payload
    assert answer.headers["content-type"].startswith("text/plain")
    assert int(grid.suburb.plan("ev-1").setpoint_w.sum()) == 5_000


async def test_copies_versions_and_cancels_are_judged_alike_whichever_way_they_come(grid: Grid) -> None:
    runner = grid.suburb.controller.runner
    await runner.turn([Packet("grid/v1/caiso/event", said())])

    told = [
        grid.state_of(await grid.post(message))
        for message in (
            said(),
            said(power_w=6_000),
            said(Operation.UPDATE, seconds=60, power_w=6_000),
            said(Operation.UPDATE, seconds=30, power_w=7_000),
            said(Operation.DELETE, seconds=90),
        )
    ]
    await runner.turn([Packet("grid/v1/caiso/event", said(Operation.DELETE, seconds=90))])

    assert told == [
        ("duplicate", None),
        ("rejected", "conflicting_content"),
        ("accepted", None),
        ("superseded", None),
        ("accepted", None),
    ]
    assert grid.counted == {
        "received": 7, "stored": 4, "duplicate": 2, "lost": 0, "refused": {"conflicting_content": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "source", "status", "reason"),
    [
        (said(), "stranger", 404, "unknown_source"),
        (a_notification(), "caiso", 403, "bad_signature"),
        (said().replace(b"-5.0", b"-9.0"), "caiso", 403, "bad_signature"),
        (sign(a_notification(), CAISO, "pge"), "caiso", 403, "unknown_key"),
        (a_notification(), "lab", 403, "source_without_key"),
        (b"", "caiso", 422, "not JSON"),
        (
            sign(b'{"objectType":"EVENT"}', CAISO, "caiso"),
            "caiso",
            422,
            "operation is not a text of 1 to 128 characters",
        ),
        (b"x" * 20_000, "caiso", 413, "longer than 16384 bytes"),
    ],
)
async def test_what_nobody_vouches_for_or_nobody_can_read_is_a_problem_counted_and_kept_nowhere(
    grid: Grid, message: bytes, source: str, status: int, reason: str
) -> None:
    answer = await grid.post(message, f"/api/v1/sources/{source}/signals")

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["faults"] == [reason]
    assert grid.counted == {
        "received": 1, "stored": 0, "duplicate": 0, "lost": 0, "refused": {reason: 1},
    }  # fmt: skip
    assert grid.store._raw == {}
    assert grid.operator.received_now() == []


async def test_a_source_whose_key_was_changed_meanwhile_is_told_so(grid: Grid) -> None:
    grid.store.decides = False
    asked = asyncio.create_task(grid.http.post(PATH, content=said()))
    while not grid.store._raw:
        await asyncio.sleep(0)
        await grid.suburb.controller.turn()
    other = SigningKey(b"o" * 32)
    await grid.store.add_source(GridSource("caiso", other.verifying_key.raw, Watts(10**9), EVENING))
    grid.store.decides = True
    await grid.suburb.controller.turn()

    assert grid.state_of(await asked) == ("rejected", "bad_signature")


async def test_a_signal_that_was_kept_and_not_judged_is_judged_later_and_its_copy_is_a_duplicate(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "ANSWER_WITHIN_S", 0.05)
    grid.store.decides = False

    unanswered = await grid.post(said())
    (kept,) = await grid.store.pending()
    grid.store.decides = True
    again = await grid.post(said())

    assert (unanswered.status_code, kept.payload) == (503, said())
    assert "send the same message again" in unanswered.json()["detail"]
    assert grid.state_of(again) == ("duplicate", None)
    assert [each.payload for each in grid.store._raw.values()] == [said(), said()]


async def test_a_signal_that_could_not_be_kept_is_to_be_sent_again(grid: Grid) -> None:
    grid.store.keeps = False

    refused = await grid.post(said())
    grid.store.keeps = True

    assert refused.status_code == 503
    assert grid.state_of(await grid.post(said())) == ("accepted", None)


async def test_no_more_wait_for_a_receipt_than_can_be_judged_soon(grid: Grid) -> None:
    asked = [
        asyncio.create_task(grid.http.post(PATH, content=said(event_id=f"ev-{number}")))
        for number in range(ASKERS_MOST + 1)
    ]
    done, waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    while not all(each.done() for each in waiting):
        await grid.suburb.controller.turn()
        await asyncio.sleep(0)
    answers = await asyncio.gather(*waiting)

    (refused,) = [each.result() for each in done]
    assert (refused.status_code, refused.json()["faults"]) == (429, ["too_many_wait"])
    assert {answer.status_code for answer in answers} == {200}


async def test_who_waits_while_the_controller_ends_is_told_to_send_it_again(grid: Grid) -> None:
    grid.store.decides = False
    stop = asyncio.Event()
    running = asyncio.create_task(grid.suburb.controller.run(stop))
    asked = asyncio.create_task(grid.http.post(PATH, content=said()))
    await asyncio.wait_for(grid.store.kept.wait(), 5)
    stop.set()
    await asyncio.wait_for(running, 5)

    assert (await asyncio.wait_for(asked, 1)).status_code == 503


async def test_a_running_controller_answers_at_once_and_not_at_its_next_tick(grid: Grid) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(grid.suburb.controller.run(stop))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(running), 0.05)  # it waits now

    answer = await asyncio.wait_for(grid.http.post(PATH, content=said()), 5)  # a third of a tick
    stop.set()
    await asyncio.wait_for(running, 5)

    assert grid.state_of(answer) == ("accepted", None)


async def test_a_controller_that_was_replaced_takes_no_signal(grid: Grid) -> None:
    grid.suburb.controller.step_down()

    assert (await grid.http.post(PATH, content=said())).status_code == 503
    assert grid.store._raw == {}


async def test_a_signal_leaves_no_trail_and_needs_no_token(grid: Grid) -> None:
    """Whoever holds the token does not become the grid by it, and the grid is nobody of the staff."""
    with_token = await grid.post(said(), Authorization="Bearer a-token", **{"Idempotency-Key": "k-1"})
    again = await grid.post(said(), Authorization="Bearer a-token", **{"Idempotency-Key": "k-1"})
    unsigned = await grid.post(a_notification(), Authorization="Bearer a-token")

    assert (grid.state_of(with_token), grid.state_of(again)) == (("accepted", None), ("duplicate", None))
    assert unsigned.status_code == 403
    assert await grid.store.trail(subject="event:ev-1", limit=9) == []
    assert await grid.store.trail(subject="fleet", limit=9) == []


async def test_where_no_controller_runs_nobody_takes_a_signal(grid: Grid) -> None:
    with pytest.raises(signals.OperationRefused, match="start vpp serve"):
        await signals.post_signal(replace(grid.suburb.desk, live=None), source="caiso", message=said())


async def test_the_description_shows_both_ways_with_messages_that_are_what_they_say(grid: Grid) -> None:
    document = (await grid.http.get("/openapi.json")).json()
    page = (await grid.http.get("/docs")).text

    about = document["paths"]["/api/v1/sources/{name}/signals"]["post"]
    example = about["requestBody"]["content"]["text/plain"]["example"].encode()
    await grid.store.add_source(
        GridSource("caiso", SigningKey(bytes(32)).verifying_key.raw, Watts(10**9), EVENING)
    )
    receipt = about["responses"]["200"]["content"]["text/plain"]["example"].encode()
    assert grid.state_of(await grid.post(example)) == ("accepted", None)
    assert decode_receipt(split(receipt, max_bytes=4_096).body, source="caiso").event_id == "ev-2026-09-09-1"
    assert "security" not in about
    for text in (document["info"]["description"], page):
        assert "grid/v1/{source}/event" in text
        assert "vpp/v1/{shard}/{site_id}/command" in text
        assert "openadr_report" in text
    assert "&#34;objectType&#34;:&#34;EVENT&#34;" in page
