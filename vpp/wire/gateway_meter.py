"""Meter evidence and its receipt: lifetime counters that money is computed from.

Whether a reading is plausible is judged in the domain; here it only has to be well formed.
"""

from collections import Counter
from datetime import UTC, datetime

from vpp.domain.delivery import MeterMessage, MeterReading, MeterReceipt, Quality
from vpp.domain.quantities import WattHours
from vpp.wire.gateway import GatewayKind, count_unknown, read_body, require_boot_id
from vpp.wire.strict_json import (
    LARGEST_INTEGER,
    JsonObject,
    MalformedMessage,
    encode,
    percent,
    require_integer,
    require_list,
    require_permille,
    require_time,
    time_text,
)

MAX_READINGS = 12
EARLIEST, LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(2499, 12, 31, tzinfo=UTC)
"""What lies beyond is kept as these: long before any consent, or long after now. Columns count seconds."""

_QUALITY = {"ok": Quality.OK, "estimated": Quality.ESTIMATED}
_WORD = {quality: word for word, quality in _QUALITY.items()}
_METER_FIELDS = frozenset(("schema", "site_id", "boot_id", "oldest_index", "readings"))
_READING_FIELDS = frozenset(
    ("index", "at", "discharged_wh", "charged_wh", "soc_pct", "quality", "imported_wh", "exported_wh")
)
_RECEIPT_FIELDS = frozenset(("schema", "site_id", "boot_id", "stored_through"))


def encode_meter(message: MeterMessage) -> bytes:
    """Return the body of 1 to 12 readings, to be signed by the gateway."""
    return encode(
        {
            "schema": "vpp.meter/1",
            "site_id": message.site_id,
            "boot_id": message.boot_id,
            "oldest_index": message.oldest_index,
            "readings": [_encode_reading(reading) for reading in message.readings],
        }
    )


def _encode_reading(reading: MeterReading) -> JsonObject:
    assert reading.soc_permille is not None, "a gateway always knows its charge"
    body: JsonObject = {
        "index": reading.index,
        "at": time_text(reading.at),
        "discharged_wh": reading.discharged_wh,
        "charged_wh": reading.charged_wh,
        "soc_pct": percent(reading.soc_permille),
        "quality": _WORD[reading.quality],
    }
    if reading.imported_wh is not None and reading.exported_wh is not None:
        body |= {"imported_wh": reading.imported_wh, "exported_wh": reading.exported_wh}
    return body


def decode_meter(payload: bytes, *, site_id: str, unknown: Counter[str] | None = None) -> MeterMessage:
    """Return the readings of a verified body, in the order sent. Raises MalformedMessage."""
    body = read_body(payload, "vpp.meter/1", site_id)
    boot_id = require_boot_id(body)
    oldest_index = require_integer(body, "oldest_index", low=1)
    readings = require_list(body, "readings", longest=MAX_READINGS)
    count_unknown(body, _METER_FIELDS, unknown, GatewayKind.METER)
    return MeterMessage(
        site_id=site_id,
        boot_id=boot_id,
        oldest_index=oldest_index,
        readings=tuple(_decode_reading(each, site_id, boot_id, oldest_index, unknown) for each in readings),
    )


def _decode_reading(
    body: object, site_id: str, boot_id: str, oldest_index: int, unknown: Counter[str] | None
) -> MeterReading:
    if type(body) is not dict:
        raise MalformedMessage("a reading is not an object")
    quality = body.get("quality")
    if type(quality) is not str or quality not in _QUALITY:
        raise MalformedMessage("quality is neither ok nor estimated")
    shares_site_meter = "imported_wh" in body or "exported_wh" in body
    count_unknown(body, _READING_FIELDS, unknown, GatewayKind.METER)
    return MeterReading(
        site_id=site_id,
        boot_id=boot_id,
        index=require_integer(body, "index", low=oldest_index),
        # A negative counter, and a time that no meter can mean, are readings that can be stored, judged BAD
        # and covered by a receipt; were they malformed, the gateway would send them for seven days.
        at=min(max(require_time(body, "at"), EARLIEST), LATEST),
        discharged_wh=WattHours(require_integer(body, "discharged_wh", low=-LARGEST_INTEGER)),
        charged_wh=WattHours(require_integer(body, "charged_wh", low=-LARGEST_INTEGER)),
        soc_permille=require_permille(body, "soc_pct"),
        quality=_QUALITY[quality],
        imported_wh=_shared(body, "imported_wh") if shares_site_meter else None,
        exported_wh=_shared(body, "exported_wh") if shares_site_meter else None,
    )


def _shared(body: JsonObject, name: str) -> WattHours:
    return WattHours(require_integer(body, name, low=-LARGEST_INTEGER))


def encode_receipt(receipt: MeterReceipt) -> bytes:
    """Return the body of a receipt, to be signed by the controller after the commit."""
    return encode(
        {
            "schema": "vpp.receipt/1",
            "site_id": receipt.site_id,
            "boot_id": receipt.boot_id,
            "stored_through": receipt.stored_through,
        }
    )


def decode_receipt(payload: bytes, *, site_id: str, unknown: Counter[str] | None = None) -> MeterReceipt:
    """Return the receipt of a verified body, for the gateway. Raises MalformedMessage."""
    body = read_body(payload, "vpp.receipt/1", site_id)
    count_unknown(body, _RECEIPT_FIELDS, unknown, GatewayKind.RECEIPT)
    return MeterReceipt(site_id, require_boot_id(body), require_integer(body, "stored_through"))
