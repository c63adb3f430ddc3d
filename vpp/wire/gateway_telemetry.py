"""Telemetry: what a home says of its battery every few seconds. It steers; it never pays.

Decoding goes straight to one row of whole numbers, because this is the one message of which a fleet
sends tens of thousands a second.
"""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from vpp.domain.interval import from_epoch
from vpp.domain.quantities import Permille, WattHours, Watts
from vpp.wire.gateway import MAX_SITE_W, GatewayKind, count_unknown, read_body
from vpp.wire.strict_json import (
    GATEWAY_MESSAGE_BYTES,
    JsonObject,
    MalformedMessage,
    encode_text,
    optional_text,
    percent,
    require_flag,
    require_integer,
    require_permille,
    require_time_s,
    time_text,
)

MAX_SITE_WH = 10_000_000


class GridState(StrEnum):
    """How the home stands to the grid. ``syncing`` is not yet connected."""

    CONNECTED = "connected"
    ISLANDED = "islanded"
    SYNCING = "syncing"


_WORDS = {False: "false", True: "true"}
_GRID_STATE = {state.value: state for state in GridState}
_FIELDS = frozenset(
    (
        "schema", "site_id", "at", "epoch", "sequence", "soc_pct", "battery_w", "discharge_limit_w",
        "energy_full_wh", "reserve_pct", "discharged_wh", "charged_wh", "grid", "storm_mode", "opted_out",
        "fault",
    )
)  # fmt: skip


# Nearly every sample is spelled exactly so: one match is three times as fast as a JSON parser that also
# looks for doubled keys. What does not match, or is out of range, goes to the strict reader.
_COUNT = rb"(0|[1-9][0-9]{0,14})"
_PERCENT = rb"(100|[1-9]?[0-9])(?:\.([0-9]))?"
_USUAL = re.compile(
    rb'\{"schema":"vpp\.telemetry/1","site_id":"([a-z0-9-]{1,36})","at":"([0-9TZ:-]{20})",'
    rb'"epoch":' + _COUNT + rb',"sequence":' + _COUNT + rb',"soc_pct":' + _PERCENT +
    rb',"battery_w":(0|-?[1-9][0-9]{0,5}),"discharge_limit_w":(0|[1-9][0-9]{0,5})'
    rb',"energy_full_wh":([1-9][0-9]{0,6}),"reserve_pct":' + _PERCENT +
    rb',"discharged_wh":' + _COUNT + rb',"charged_wh":' + _COUNT +
    rb',"grid":"(connected|islanded|syncing)","storm_mode":(true|false),"opted_out":(true|false),"fault":null\}'
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One sample of a home. The pair names the command in force, 0 before any."""

    site_id: str
    at: datetime
    epoch: int
    sequence: int
    soc_permille: Permille
    battery_w: Watts  # mean since the last sample, positive discharges
    discharge_limit_w: Watts
    energy_full_wh: WattHours
    reserve_permille: Permille  # the home's own
    discharged_wh: WattHours
    charged_wh: WattHours
    grid: GridState
    storm_mode: bool
    opted_out: bool
    fault: str | None


TELEMETRY_COLUMNS = (
    "at_s", "epoch", "sequence", "soc_permille", "battery_w", "discharge_limit_w", "energy_full_wh",
    "reserve_permille", "discharged_wh", "charged_wh", "grid_connected", "storm_mode", "opted_out", "faulted",
)  # fmt: skip
"""What each number of a telemetry row is, in order; names of ``TelemetryBatch`` columns."""


def encode_telemetry(sample: Telemetry) -> bytes:
    """Return the body of a sample, which travels unsigned."""
    # Written out: a fleet sends nothing more often, and the general encoder takes four times as long. No
    # text in it can need escaping but the fault.
    fault = "null" if sample.fault is None else encode_text(sample.fault)
    return (
        f'{{"schema":"vpp.telemetry/1","site_id":"{sample.site_id}","at":"{time_text(sample.at)}",'
        f'"epoch":{sample.epoch},"sequence":{sample.sequence},"soc_pct":{percent(sample.soc_permille)},'
        f'"battery_w":{sample.battery_w},"discharge_limit_w":{sample.discharge_limit_w},'
        f'"energy_full_wh":{sample.energy_full_wh},"reserve_pct":{percent(sample.reserve_permille)},'
        f'"discharged_wh":{sample.discharged_wh},"charged_wh":{sample.charged_wh},'
        f'"grid":"{sample.grid.value}","storm_mode":{_WORDS[sample.storm_mode]},'
        f'"opted_out":{_WORDS[sample.opted_out]},"fault":{fault}}}'
    ).encode()


def decode_telemetry_row(
    payload: bytes, *, site_id: str, unknown: Counter[str] | None = None
) -> tuple[int, ...]:
    """Return a sample as the numbers of ``TELEMETRY_COLUMNS``; flags are 0 and 1. Raises MalformedMessage."""
    usual = _USUAL.fullmatch(payload)
    if usual is not None and usual[1] == site_id.encode() and len(payload) <= GATEWAY_MESSAGE_BYTES:
        row = _usual_numbers(usual)
        if row is not None:
            return row
    return _numbers(_read(payload, site_id, unknown))


def decode_telemetry(payload: bytes, *, site_id: str, unknown: Counter[str] | None = None) -> Telemetry:
    """Return a sample with every word it carries. Raises MalformedMessage."""
    body = _read(payload, site_id, unknown)
    at_s, epoch, sequence, charge, battery, limit, full, reserve, out, taken, *flags = _numbers(body)
    return Telemetry(
        site_id=site_id,
        at=from_epoch(at_s),
        epoch=epoch,
        sequence=sequence,
        soc_permille=Permille(charge),
        battery_w=Watts(battery),
        discharge_limit_w=Watts(limit),
        energy_full_wh=WattHours(full),
        reserve_permille=Permille(reserve),
        discharged_wh=WattHours(out),
        charged_wh=WattHours(taken),
        grid=_grid(body),
        storm_mode=bool(flags[1]),
        opted_out=bool(flags[2]),
        fault=_fault(body),
    )


def _usual_numbers(usual: re.Match[bytes]) -> tuple[int, ...] | None:
    _, at, epoch, sequence, charge, tenth, battery, limit, full, reserve, reserve_tenth, *rest = (
        usual.groups()
    )
    at_s = _usual_time_s(at)
    soc_permille = int(charge + (tenth or b"0"))
    reserve_permille = int(reserve + (reserve_tenth or b"0"))
    if at_s is None or soc_permille > 1000 or reserve_permille > 1000:
        return None  # the strict reader names the reason
    discharged, charged, grid, storm, opted_out = rest
    return (
        at_s,
        int(epoch),
        int(sequence),
        soc_permille,
        int(battery),
        int(limit),
        int(full),
        reserve_permille,
        int(discharged),
        int(charged),
        grid == b"connected",
        storm == b"true",
        opted_out == b"true",
        False,
    )


@lru_cache(maxsize=4096)
def _usual_time_s(at: bytes) -> int | None:
    try:
        return require_time_s({"at": at.decode()}, "at")
    except MalformedMessage:
        return None


def _read(payload: bytes, site_id: str, unknown: Counter[str] | None) -> JsonObject:
    body = read_body(payload, "vpp.telemetry/1", site_id)
    count_unknown(body, _FIELDS, unknown, GatewayKind.TELEMETRY)
    return body


def _numbers(body: JsonObject) -> tuple[int, ...]:
    return (
        require_time_s(body, "at"),
        require_integer(body, "epoch"),
        require_integer(body, "sequence"),
        require_permille(body, "soc_pct"),
        require_integer(body, "battery_w", low=-MAX_SITE_W, high=MAX_SITE_W),
        require_integer(body, "discharge_limit_w", high=MAX_SITE_W),
        require_integer(body, "energy_full_wh", low=1, high=MAX_SITE_WH),
        require_permille(body, "reserve_pct"),
        require_integer(body, "discharged_wh"),
        require_integer(body, "charged_wh"),
        _grid(body) is GridState.CONNECTED,
        require_flag(body, "storm_mode"),
        require_flag(body, "opted_out"),
        _fault(body) is not None,
    )


def _fault(body: JsonObject) -> str | None:
    """Return the home's words for its fault: any words, or a sample with an owner's no could get lost."""
    return None if body.get("fault") == "" else optional_text(body, "fault", longest=GATEWAY_MESSAGE_BYTES)


def _grid(body: JsonObject) -> GridState:
    state = body.get("grid")
    if type(state) is not str or state not in _GRID_STATE:
        raise MalformedMessage("grid is none of connected, islanded, syncing")
    return _GRID_STATE[state]
