"""An owner's battery energy as Green Button: an Atom feed of ESPI hours, as utilities' tools read it.

Each home is a usage point with two meter readings: what the battery gave (flow direction 19, reverse) and
what it took in (flow direction 1, forward), in whole watt-hours, one interval block for each day of UTC.

Source: NAESB REQ.21 (ESPI 1.1), namespaces and codes as the Green Button developer pages list them.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from xml.etree import ElementTree

ATOM, ESPI = "http://www.w3.org/2005/Atom", "http://naesb.org/espi"
GAVE, TOOK_IN = "19", "1"
_WATT_HOURS = "72"
_HOUR_S = 3600
_QUALITY = {"OK": "0", "ESTIMATED": "9"}  # valid; by linear interpolation


@dataclass(frozen=True, slots=True)
class EnergyHour:
    """One whole hour of one home's battery. ``quality`` is OK or ESTIMATED; other hours are left out."""

    starts_at_s: int
    gave_wh: int
    took_in_wh: int
    quality: str


def write_green_button(homes: Sequence[tuple[str, Sequence[EnergyHour]]], *, at: datetime) -> bytes:
    """Return the feed: for each home a usage point, two readings and their blocks, hours in order of time."""
    ElementTree.register_namespace("", ATOM)
    ElementTree.register_namespace("espi", ESPI)
    feed = ElementTree.Element(f"{{{ATOM}}}feed")
    _text(feed, ATOM, "id", _urn("feed", *(name for name, _ in homes)))
    _text(feed, ATOM, "title", "Battery energy")
    _text(feed, ATOM, "updated", _instant(at))
    for number, (name, hours) in enumerate(homes, start=1):
        point = f"RetailCustomer/1/UsagePoint/{number}"
        content = _entry(feed, point, f"Battery of {name}", at, related=(f"{point}/MeterReading",))
        kind = ElementTree.SubElement(_espi(content, "UsagePoint"), f"{{{ESPI}}}ServiceCategory")
        _text(kind, ESPI, "kind", "0")  # electricity
        for place, (title, direction) in enumerate((("given", GAVE), ("taken in", TOOK_IN)), start=1):
            _reading(feed, f"{point}/MeterReading/{place}", title, direction, hours, at)
    return bytes(ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True))


def _reading(
    feed: ElementTree.Element,
    path: str,
    title: str,
    direction: str,
    hours: Sequence[EnergyHour],
    at: datetime,
) -> None:
    number = path.replace("/", "-")
    blocks, above = f"{path}/IntervalBlock", path.rpartition("/")[0]
    related = (f"ReadingType/{number}", blocks)
    _espi(_entry(feed, path, f"Energy {title}", at, up=above, related=related), "MeterReading")
    kind = _espi(_entry(feed, f"ReadingType/{number}", f"Hours, Wh, {title}", at), "ReadingType")
    for name, value in (
        ("accumulationBehaviour", "4"),  # what one interval came to
        ("commodity", "1"),  # electricity, metered
        ("dataQualifier", "12"),
        ("flowDirection", direction),
        ("intervalLength", str(_HOUR_S)),
        ("kind", "12"),  # energy
        ("powerOfTenMultiplier", "0"),
        ("uom", _WATT_HOURS),
    ):
        _text(kind, ESPI, name, value)
    for day, of_day in groupby(hours, key=lambda hour: hour.starts_at_s // 86_400):
        content = _entry(feed, f"{blocks}/{day}", "", at, up=blocks)
        _block(_espi(content, "IntervalBlock"), list(of_day), direction)


def _block(block: ElementTree.Element, hours: Sequence[EnergyHour], direction: str) -> None:
    whole = ElementTree.SubElement(block, f"{{{ESPI}}}interval")
    ends_at_s = hours[-1].starts_at_s + _HOUR_S
    _text(whole, ESPI, "duration", str(ends_at_s - hours[0].starts_at_s))
    _text(whole, ESPI, "start", str(hours[0].starts_at_s))
    for hour in hours:
        reading = ElementTree.SubElement(block, f"{{{ESPI}}}IntervalReading")
        if hour.quality != "OK":
            quality = ElementTree.SubElement(reading, f"{{{ESPI}}}ReadingQuality")
            _text(quality, ESPI, "quality", _QUALITY[hour.quality])
        period = ElementTree.SubElement(reading, f"{{{ESPI}}}timePeriod")
        _text(period, ESPI, "duration", str(_HOUR_S))
        _text(period, ESPI, "start", str(hour.starts_at_s))
        _text(reading, ESPI, "value", str(hour.gave_wh if direction == GAVE else hour.took_in_wh))


def _entry(
    feed: ElementTree.Element,
    path: str,
    title: str,
    at: datetime,
    *,
    up: str = "",
    related: Sequence[str] = (),
) -> ElementTree.Element:
    """Append an entry and return its content; the links are what readers find the parts of a whole by."""
    entry = ElementTree.SubElement(feed, f"{{{ATOM}}}entry")
    _text(entry, ATOM, "id", _urn(path))
    links = [("self", path), *([("up", up)] if up else []), *(("related", each) for each in related)]
    for relation, target in links:
        ElementTree.SubElement(entry, f"{{{ATOM}}}link", {"rel": relation, "href": target})
    _text(entry, ATOM, "title", title)
    _text(entry, ATOM, "published", _instant(at))
    _text(entry, ATOM, "updated", _instant(at))
    return ElementTree.SubElement(entry, f"{{{ATOM}}}content")


def _espi(content: ElementTree.Element, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(content, f"{{{ESPI}}}{name}")


def _text(above: ElementTree.Element, space: str, name: str, value: str) -> None:
    ElementTree.SubElement(above, f"{{{space}}}{name}").text = value


def _urn(*parts: str) -> str:
    """Return an identity that follows from the content, so that two downloads have the same."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, 'vpp/' + '/'.join(parts))}"


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
