"""The files that simulated homes are enrolled and run with.

``sites.csv`` is an enrolment file, ``history.csv`` a meter file; both go to the controller. ``gateways.json``
holds the gateways' private keys and the seed they were made from; only its user can read it. Beside it a
fleet in real time keeps ``gateways.sqlite``, which new homes begin without.
"""

import argparse
import csv
import hashlib
import json
import os
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np

from simulators.history import History, live_through, three_weeks_before
from simulators.household import CALIFORNIA, Neighbourhood, Surroundings, neighbourhood
from simulators.scenario import load_scenario, simulated_source_key
from vpp.domain.interval import from_epoch
from vpp.wire.enrollment_file import HEADER, METER_ACCURACY
from vpp.wire.signed import SigningKey, VerifyingKey
from vpp.wire.strict_json import time_text

SITES_FILE, KEYS_FILE, HISTORY_FILE = "sites.csv", "gateways.json", "history.csv"
DISK_FILE = "gateways.sqlite"
HISTORY_HEADER = (
    "site_id", "at", "discharged_wh", "charged_wh", "imported_wh", "exported_wh", "quality",
)  # fmt: skip
CONSENT_VERSION = "1"
CONSENT_BEFORE_HISTORY = timedelta(days=30)
EVENING_HOURS = range(15, 23)  # local; the hours that programs pay for, and one on each side


class UnusableFile(Exception):
    """A file of the homes cannot be used; the message names it and what it lacks."""


@dataclass(frozen=True, slots=True)
class GatewayFile:
    """What ``gateways.json`` says: how the homes were drawn, when their history began, and their keys."""

    seed: int
    count: int
    year: int
    programs: tuple[str, ...]
    history_from: datetime
    keys: dict[str, SigningKey]

    def homes(self) -> Neighbourhood:
        """Return the homes the file was written for."""
        return neighbourhood(self.count, self.seed, programs=self.programs, year=self.year)


def gateway_key(seed: int, site_id: str) -> SigningKey:
    """Return a simulated gateway's key. It follows from the seed, so a story repeats; no real key may."""
    return SigningKey(hashlib.sha256(f"simulated gateway {seed} {site_id}".encode()).digest())


def write_sites_csv(path: Path, homes: Neighbourhood, *, consent_at: datetime) -> None:
    """Write the enrolment file of all homes, in their order."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow((*HEADER, METER_ACCURACY))
        for row in range(len(homes)):
            rows.writerow(
                (
                    homes.site_id[row],
                    homes.owner_id[row],
                    homes.program_id[row],
                    homes.utility[row],
                    homes.county[row],
                    homes.feeder[row],
                    int(homes.full_energy_wh[row]),
                    int(homes.max_discharge_w[row]),
                    _percent(homes.vpp_reserve_permille[row]),
                    gateway_key(homes.seed, homes.site_id[row]).verifying_key.text,
                    CONSENT_VERSION,
                    time_text(consent_at),
                    _percent(homes.meter_accuracy_permille[row]),
                )
            )


def _percent(permille: np.int64) -> str:
    return f"{permille // 10}.{permille % 10}"


def write_gateway_file(
    path: Path, homes: Neighbourhood, *, year: int, programs: Sequence[str], history_from: datetime
) -> None:
    """Write the private keys, readable by this user alone; what homes before these kept is forgotten."""
    content = {
        "seed": homes.seed,
        "count": len(homes),
        "year": year,
        "programs": list(programs),
        "history_from": time_text(history_from),
        "keys": {
            site_id: urlsafe_b64encode(gateway_key(homes.seed, site_id).seed).rstrip(b"=").decode()
            for site_id in homes.site_id
        },
    }
    for stale in (path, *(path.with_name(DISK_FILE + more) for more in ("", "-wal", "-shm"))):
        stale.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file)


def disk_path(path: Path) -> Path:
    """Return where the homes of a ``gateways.json``, or of the one in a directory, keep what they must."""
    return path / DISK_FILE if path.is_dir() else path.with_name(DISK_FILE)


def read_gateway_file(path: Path) -> GatewayFile:
    """Return what a ``gateways.json``, or the one in a directory, says. Raises UnusableFile."""
    found = path / KEYS_FILE if path.is_dir() else path
    try:
        content = json.loads(found.read_text(encoding="utf-8"))
        keys = {
            site_id: SigningKey(urlsafe_b64decode(text + "=")) for site_id, text in content["keys"].items()
        }
        history_from = datetime.fromisoformat(content["history_from"])
        return GatewayFile(
            content["seed"],
            content["count"],
            content["year"],
            tuple(content["programs"]),
            history_from,
            keys,
        )
    except FileNotFoundError as missing:
        raise UnusableFile(f"no {found}; make homes with: python -m simulators homes --out DIR") from missing
    except (KeyError, ValueError, TypeError, AttributeError) as wrong:
        raise UnusableFile(f"{found} is not a file that 'python -m simulators homes' wrote") from wrong


def read_site_ids(path: Path) -> tuple[str, ...]:
    """Return the sites of an enrolment file in its order. Raises UnusableFile."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return tuple(row["site_id"].strip() for row in csv.DictReader(file))
    except FileNotFoundError as missing:
        raise UnusableFile(f"no {path}; make homes with: python -m simulators homes --out DIR") from missing
    except KeyError as absent:
        raise UnusableFile(f"{path} has no column site_id") from absent


def read_shards(path: Path) -> dict[str, str]:
    """Return each site's shard from what ``vpp site enroll --json`` printed. Raises UnusableFile."""
    try:
        return {site["site_id"]: site["shard"] for site in json.loads(path.read_text())["sites"]}
    except FileNotFoundError as missing:
        raise UnusableFile(f"no {path}; it is what 'vpp site enroll --json' prints") from missing
    except (KeyError, ValueError, TypeError) as wrong:
        raise UnusableFile(f"{path} is not what 'vpp site enroll --json' prints") from wrong


def read_controller_key(text: str | None, path: Path | None) -> dict[str, VerifyingKey]:
    """Return the pinned key from ``KID:BASE64URL``, or from what ``vpp keys show --json`` printed.

    Raises:
        UnusableFile: Neither is given, or what is given names no key.
    """
    if text is not None:
        kid, _, encoded = text.rpartition(":")
        if not kid:
            raise UnusableFile(f"controller key {text[:80]!r} is not KID:BASE64URL")
        return {kid: VerifyingKey.from_text(encoded)}
    if path is None:
        raise UnusableFile(
            "no controller key; give --controller-key-file with what 'vpp keys show --json' prints"
        )
    try:
        shown = json.loads(path.read_text())
        return {shown["kid"]: VerifyingKey.from_text(shown["public_key"])}
    except FileNotFoundError as missing:
        raise UnusableFile(f"no {path}; it is what 'vpp keys show --json' prints") from missing
    except (KeyError, ValueError, TypeError) as wrong:
        raise UnusableFile(f"{path} is not what 'vpp keys show --json' prints") from wrong


def write_history_csv(
    path: Path, homes: Neighbourhood, history: History, *, rows: Sequence[int], kept: Sequence[int]
) -> None:
    """Write lifetime counters of some homes at some of the history's full hours, home by home, oldest first.

    A settlement hour needs a reading at each of its two edges; evenings alone make a third of the file.
    """
    times = [time_text(from_epoch(int(history.read_at_s[number]))) for number in kept]
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(HISTORY_HEADER) + "\n")
        for row in rows:
            out = history.discharged_wh[kept, row].tolist()
            taken = history.charged_wh[kept, row].tolist()
            file.writelines(_history_lines(homes.site_id[row], times, out, taken))


def _evenings(history: History) -> list[int]:
    return [
        number
        for number, at_s in enumerate(history.read_at_s.tolist())
        if from_epoch(at_s).astimezone(CALIFORNIA).hour in EVENING_HOURS
    ]


def _history_lines(site_id: str, times: list[str], out: list[int], taken: list[int]) -> Iterator[str]:
    for at, discharged_wh, charged_wh in zip(times, out, taken, strict=True):
        yield f"{site_id},{at},{discharged_wh},{charged_wh},,,OK\n"


def add_homes_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line that makes homes."""
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--program", action="append", help="may be repeated; homes join them in turn")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--until", type=datetime.fromisoformat, help="end of the history; default: now")
    when.add_argument(
        "--date", type=date.fromisoformat, help="end the history at 17:00 in California that day"
    )
    when.add_argument("--scenario", help="end the history where this story begins")
    parser.add_argument("--evenings", action="store_true", help="history of 15:00-22:59 local only")


def run_homes(arguments: argparse.Namespace, *, now: datetime) -> int:
    """Write the three files, print where they are and for what as one line of JSON, return the exit code."""
    programs, until = arguments.program or ["elrp-a4-pge"], arguments.until or now
    if until.tzinfo is None:
        raise UnusableFile(f"--until {until.isoformat()} has no zone; write {until.isoformat()}Z")
    if arguments.date is not None:
        until = datetime.combine(arguments.date, time(17), tzinfo=CALIFORNIA)
    described: dict[str, object] = {}
    if arguments.scenario is not None:
        scenario = load_scenario(arguments.scenario)
        until, programs = scenario.starts_at, arguments.program or [scenario.program_id]
        key = simulated_source_key(arguments.seed, scenario.source).verifying_key
        described = {**scenario.described(), "source_public_key": key.text}
    until = until.astimezone(UTC)
    history_from = three_weeks_before(until).replace(minute=0, second=0, microsecond=0)
    homes = neighbourhood(arguments.count, arguments.seed, programs=programs, year=until.year)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_sites_csv(arguments.out / SITES_FILE, homes, consent_at=history_from - CONSENT_BEFORE_HISTORY)
    write_gateway_file(
        arguments.out / KEYS_FILE, homes, year=until.year, programs=programs, history_from=history_from
    )
    history = live_through(homes, Surroundings(homes), starts_at=history_from, ends_at=until)
    kept = _evenings(history) if arguments.evenings else range(len(history.read_at_s))
    write_history_csv(arguments.out / HISTORY_FILE, homes, history, rows=range(len(homes)), kept=kept)
    shown = {
        "sites": str(arguments.out / SITES_FILE),
        "keys": str(arguments.out / KEYS_FILE),
        "history": str(arguments.out / HISTORY_FILE),
        "homes": len(homes),
        "history_until": time_text(until),
        **described,
    }
    sys.stdout.write(json.dumps(shown) + "\n")
    return 0
