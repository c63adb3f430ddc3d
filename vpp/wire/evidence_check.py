"""Check an evidence bundle: compute it again and say where its files differ; and write one.

``manifest.json`` holds ``schema`` (``vpp.evidence/1``), ``event_id``, ``files`` (SHA-256 in hex by file
name), ``chain_head`` (of the books, in hex), and where signed ``kid``, ``public_key`` (base64url of the
32 raw bytes) and ``signature``: a detached JWS over the other fields as compact JSON with sorted keys.
A signed one is laid out in one way only, so that no byte of it can change unseen: keys sorted, each on a
line of its own, one space for each level, a line feed at the end. The key in a manifest says only that one
hand made it all; whose hand it was is known by comparing the key with ``vpp keys show``.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from vpp.domain.quantities import MicroDollars, dollars
from vpp.domain.settlement import HourLine, SettlementLine
from vpp.wire.evidence import (
    CARRIED,
    EXTRA,
    OPTIONAL,
    PERIOD,
    PRICES,
    REQUIRED,
    Bundle,
    Recomputed,
    read_bundle,
    recompute,
    write_event,
)
from vpp.wire.evidence_csv import (
    SETTLEMENT,
    TOTALS,
    write_carried,
    write_excluded_days,
    write_period,
    write_sites,
)
from vpp.wire.meter_file import write_meter_csv
from vpp.wire.price_file import write_prices
from vpp.wire.signed import BadSignature, NotAKey, VerifyingKey, split, verify
from vpp.wire.strict_json import MalformedMessage, parse, require_object, require_text, time_text
from vpp.wire.table import (
    BadCell,
    BadFile,
    Table,
    as_it_was,
    harmless,
    instant_of,
    read_table,
    write_table,
)

SCHEMA = "vpp.evidence/1"
LARGEST_MANIFEST = 1_000_000
MOST_DIFFERENCES = 20

_NUMBER = re.compile(r"-?[0-9]{1,18}(/0*[1-9][0-9]{0,17}|\.[0-9]{1,12})?")
_NOT_COMPARED = ("reason",)  # a sentence for people; what it explains is compared

UNSIGNED = "manifest.json is not signed: who changes a file can write its new hash there as well"

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    """What a bundle computes to, and where its own files say something else."""

    event_id: str
    program_id: str
    time_zone: str
    currency: str
    computed: Recomputed
    absent: tuple[str, ...]  # optional files that the bundle does not hold
    differences: tuple[str, ...]  # the first twenty

    @property
    def lines(self) -> tuple[SettlementLine, ...]:
        """Return each site's line, in the order of the bundle's sites."""
        return self.computed.lines

    @property
    def agrees(self) -> bool:
        """Return whether everything in the bundle agrees with what was computed."""
        return not self.differences

    def as_json(self) -> Json:
        """Return the report with stable keys.

        ``event_id, program_id, time_zone, currency`` (of all amounts, whatever their names end in)``,
        agrees, differences, absent, period`` (the month or season that all amounts are of; null where the
        event is paid by itself), ``notes`` (sentences on what was assumed), ``total_usd`` and ``sites``:
        ``site_id, owner_id, incremental_wh`` (exact, signed, before the negative policy), ``carried_wh`` (of
        the season's earlier events, where it nets; else null), ``paid_wh, average_kw`` (of the period; else
        null), ``amount_usd, quality, reason, baseline_days, dropped_days`` and ``hours``: ``starts_at,
        metered_wh, baseline_wh`` (of the whole clock hour), ``fraction`` (part of it that counts),
        ``incremental_wh, quality`` and ``reason`` (a sentence where it is not OK; else null). Watt-hours and
        kW are exact: whole numbers, or fractions as text.
        """
        computed = self.computed
        return {
            "event_id": self.event_id,
            "program_id": self.program_id,
            "time_zone": self.time_zone,
            "currency": self.currency,
            "agrees": self.agrees,
            "differences": list(self.differences),
            "absent": list(self.absent),
            "period": computed.period_id,
            "notes": list(computed.notes),
            "total_usd": dollars(sum_of(self.lines)),
            "sites": [self._site(line) for line in self.lines],
        }

    def _site(self, line: SettlementLine) -> Json:
        reasons = self.computed.hour_reasons.get(line.site_id) or [None] * len(line.hours)
        hours = [_hour_json(hour) | {"reason": why} for hour, why in zip(line.hours, reasons, strict=True)]
        return _site_json(line) | _around(line, self.computed) | {"hours": hours}


def _around(line: SettlementLine, computed: Recomputed) -> Json:
    """Return what a site's amount follows from besides this event."""
    carried, mean = computed.carried_wh, computed.average_kw.get(line.site_id)
    return {
        "carried_wh": None if carried is None else exact(carried.get(line.site_id, Fraction(0))),
        "average_kw": None if mean is None else exact(mean),
    }


def sum_of(lines: Sequence[SettlementLine]) -> MicroDollars:
    """Return the sum of the owners' rounded amounts."""
    return MicroDollars(sum(line.amount for line in lines))


def verify_bundle(files: Mapping[str, bytes]) -> EvidenceReport:
    """Return what the files of a bundle compute to and where they differ from it.

    Only the files are needed. ``settlement.csv``, ``totals.csv`` and ``manifest.json`` may be absent:
    then they are reported as absent, which is no difference.

    Raises:
        BadFile: A file that is needed is absent or cannot be read; each fault names its place.
    """
    differences = list(_manifest_differences(files))
    try:
        bundle = read_bundle(files)
        computed = recompute(bundle)
    except BadFile as failure:
        # A file that was changed after signing explains why it cannot be read.
        raise BadFile([*differences, *failure.faults]) from failure
    signer = [_signer(files["manifest.json"])] if "manifest.json" in files else []
    computed = replace(computed, notes=(*computed.notes, *_not_compared(files), *signer))
    differences.extend(_table_differences(files, "settlement.csv", _settlement_rows(computed.lines), 2))
    differences.extend(_table_differences(files, "totals.csv", _total_rows(computed.lines), 1))
    return EvidenceReport(
        event_id=bundle.event.event_id,
        program_id=bundle.event.program_id,
        time_zone=bundle.event.time_zone,
        currency=bundle.program.currency,
        computed=computed,
        absent=tuple(name for name in OPTIONAL if name not in files),
        differences=tuple(differences[:MOST_DIFFERENCES]),
    )


def write_bundle(
    bundle: Bundle,
    lines: Sequence[SettlementLine],
    *,
    chain_head: str,
    sign: Callable[[bytes], bytes] | None = None,
    signer: tuple[str, str] | None = None,
) -> dict[str, bytes]:
    """Return the files of a bundle by name.

    Args:
        bundle: What the settlement stands on.
        lines: The settlement as it was booked.
        chain_head: Of the books, in hex.
        sign: Makes the two-line signed message of a body; ``Keys.sign``. None leaves it unsigned.
        signer: The signing key's ``kid`` and its public key as base64url.
    """
    files = {
        "event.json": write_event(bundle.event),
        "program.toml": bundle.program_text.encode(),
        "sites.csv": write_sites(bundle.sites),
        "meter.csv": write_meter_csv([site.site_id for site in bundle.sites], bundle.readings),
        "excluded_days.csv": write_excluded_days(bundle.excluded),
        "settlement.csv": write_settlement_csv(lines),
        "totals.csv": write_table(TOTALS, (_written(TOTALS, row) for row in _total_rows(lines))),
    }
    if bundle.prices:
        files[PRICES] = write_prices(bundle.prices)
    if bundle.carried is not None:
        files[CARRIED] = write_carried(bundle.carried)
    if bundle.powers is not None:
        files[PERIOD] = write_period(bundle.powers)
    manifest: Json = {
        "schema": SCHEMA,
        "event_id": bundle.event.event_id,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "chain_head": chain_head,
    }
    if sign is not None and signer is not None:
        manifest["kid"], manifest["public_key"] = signer
        manifest["signature"] = sign(_canonical(manifest)).partition(b"\n")[2].decode()
    files["manifest.json"] = _laid_out(manifest)
    return files


def write_settlement_csv(lines: Sequence[SettlementLine]) -> bytes:
    """Return ``settlement.csv``: each site's clock hours."""
    return write_table(SETTLEMENT, (_written(SETTLEMENT, row) for row in _settlement_rows(lines)))


def exact(energy_wh: Fraction) -> int | str:
    """Return watt-hours as a whole number, or as a fraction such as ``"37/3"`` where they are none."""
    return energy_wh.numerator if energy_wh.denominator == 1 else str(energy_wh)


def whole_hour_baseline(hour: HourLine) -> Fraction | None:
    """Return the average of the similar days for the whole clock hour."""
    return None if hour.baseline_wh is None else hour.baseline_wh / hour.fraction


def _hour_json(hour: HourLine) -> Json:
    baseline = whole_hour_baseline(hour)
    return {
        "starts_at": time_text(hour.hour.starts_at),
        "metered_wh": hour.metered_wh,
        "baseline_wh": None if baseline is None else exact(baseline),
        "fraction": str(hour.fraction),
        "incremental_wh": exact(hour.incremental_wh),
        "quality": hour.quality.value,
    }


def _site_json(line: SettlementLine) -> Json:
    return {
        "site_id": line.site_id,
        "owner_id": line.owner_id,
        "incremental_wh": exact(line.incremental_wh),
        "paid_wh": exact(line.paid_wh),
        "amount_usd": dollars(line.amount),
        "quality": line.quality.value,
        "reason": line.reason,
        "baseline_days": [day.isoformat() for day in line.baseline_days.chosen],
        "dropped_days": [
            {"date": day.isoformat(), "reason": reason} for day, reason in line.baseline_days.dropped
        ],
    }


Row = Mapping[str, str]


def _settlement_rows(lines: Sequence[SettlementLine]) -> Iterator[Row]:
    for line in lines:
        for hour in line.hours:
            facts = _hour_json(hour)
            yield {
                "site_id": line.site_id,
                "hour_starts_at": str(facts["starts_at"]),
                **{name: "" if facts[name] is None else str(facts[name]) for name in SETTLEMENT[2:]},
            }


def _total_rows(lines: Sequence[SettlementLine]) -> Iterator[Row]:
    for line in lines:
        facts = _site_json(line)
        yield {name: "" if facts[name] is None else str(facts[name]) for name in TOTALS}


def _written(columns: Sequence[str], row: Row) -> list[str]:
    texts = ("site_id", "owner_id")
    return [harmless(row[name]) if name in texts else row[name] for name in columns]


def _table_differences(
    files: Mapping[str, bytes], file_name: str, computed: Iterator[Row], keys: int
) -> Iterator[str]:
    """Yield where a table of results differs from what was computed, in the columns it has of ours."""
    if file_name not in files:
        return
    columns = SETTLEMENT if file_name == "settlement.csv" else TOTALS
    key_names = columns[:keys]
    try:
        table = read_table(files[file_name], file_name=file_name, required=key_names)
    except BadFile as failure:
        yield from failure.faults
        return
    rows = [row for _, row in table.rows()]
    yield from table.faults
    stated = {tuple(_key(name, row[name]) for name in key_names): row for row in rows}
    if len(stated) != len(rows):
        yield f"{file_name}: {len(rows)} rows, but only {len(stated)} different ones"
    for row in computed:
        key = tuple(row[name] for name in key_names)
        theirs = stated.pop(key, None)
        if theirs is None:
            yield f"{file_name}: no row for {' '.join(key)}"
            continue
        yield from _row_differences(file_name, table, columns[keys:], key, row, theirs)
    for key in stated:
        yield f"{file_name}: a row for {' '.join(key)}, which is not settled"


def _not_compared(files: Mapping[str, bytes]) -> Iterator[str]:
    """Say which results a table leaves out: what it may say of them under other names agrees with nothing."""
    for file_name, columns, keys in (("settlement.csv", SETTLEMENT, 2), ("totals.csv", TOTALS, 1)):
        try:
            there = read_table(
                files.get(file_name, b""), file_name=file_name, required=columns[:keys]
            ).columns
        except BadFile:
            continue  # it is absent, or what is wrong with it is a difference
        left_out = [name for name in columns[keys:] if name not in (*there, *_NOT_COMPARED)]
        if left_out:
            yield f"{file_name} has no column {', '.join(left_out)}; computed, and compared with nothing"


def _key(name: str, cell: str) -> str:
    """Return a cell that names its row as we write it: an hour may be said with any offset."""
    text = as_it_was(cell.strip())
    if name != "hour_starts_at":
        return text
    try:
        return time_text(instant_of(name, text))
    except BadCell:
        return text


def _row_differences(
    file_name: str, table: Table, columns: Sequence[str], key: Sequence[str], ours: Row, theirs: Row
) -> Iterator[str]:
    for name in columns:
        if name not in table.columns or name in _NOT_COMPARED:
            continue
        said = as_it_was(theirs[name].strip()) if name == "owner_id" else theirs[name].strip()
        if said != ours[name] and _number(said) != _number(ours[name]):
            where = f"{file_name}: {' '.join(key)}: {name}"
            yield f"{where} is {said or 'empty'}, computed {ours[name] or 'empty'}"


def _number(text: str) -> Fraction | str:
    """Return a cell's number, so that ``8000.0`` and ``8000`` are the same; else the text itself."""
    return Fraction(text) if _NUMBER.fullmatch(text) else text


_BY_A_SIGNER = ("kid", "public_key", "signature")  # one of them, and all must be there


def _manifest_differences(files: Mapping[str, bytes]) -> Iterator[str]:
    if "manifest.json" not in files:
        return
    try:
        manifest = parse(files["manifest.json"], max_bytes=LARGEST_MANIFEST)
        hashes = require_object(manifest, "files")
        if not manifest.keys().isdisjoint(_BY_A_SIGNER):
            _require_signature(manifest)
            if files["manifest.json"] != _laid_out(manifest):
                yield "manifest.json: spaces, lines or the order of keys are not as they were signed"
    except (MalformedMessage, BadSignature, NotAKey) as failure:
        yield f"manifest.json: {failure}"
        return
    ours = {*REQUIRED, *OPTIONAL, *EXTRA} - {"manifest.json"}
    for name in sorted(set(hashes) | set(files) & ours):
        if name not in files:
            yield f"{name}: named by manifest.json, but not in the bundle"
        elif name not in hashes:
            yield f"{name}: not named by manifest.json"
        elif (found := hashlib.sha256(files[name]).hexdigest()) != str(hashes[name]).lower():
            yield f"{name}: SHA-256 is {found}, manifest.json says {hashes[name]}"


def _signer(content: bytes) -> str:
    """Return who signed a manifest, as it says: nobody can tell from it whose key that is."""
    try:
        manifest = parse(content, max_bytes=LARGEST_MANIFEST)
    except MalformedMessage:
        return UNSIGNED  # what is wrong with it is a difference
    if "signature" not in manifest:
        return UNSIGNED
    kid, key = manifest.get("kid"), manifest.get("public_key")
    return f"signed as {kid} with the key {key}: compare it with what vpp keys show prints at its maker's"


def _require_signature(manifest: Mapping[str, object]) -> None:
    signed = {name: value for name, value in manifest.items() if name != "signature"}
    key = VerifyingKey.from_text(require_text(manifest, "public_key"))
    jws = require_text(manifest, "signature", longest=1_000)
    message = _canonical(signed) + b"\n" + jws.encode()
    verify(split(message, max_bytes=LARGEST_MANIFEST), key)


def _laid_out(manifest: Mapping[str, object]) -> bytes:
    return json.dumps(manifest, indent=1, sort_keys=True, default=str).encode() + b"\n"


def _canonical(body: Mapping[str, object]) -> bytes:
    # Nobody signs a number with a point: however it is written here, its signature does not fit.
    return json.dumps(body, sort_keys=True, separators=(",", ":"), default=str).encode()
