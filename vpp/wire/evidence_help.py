"""The formats of an evidence bundle, said once for people: in ``--help``, and beside the code.

And the rules by which it is computed, so that someone else reaches the same cent with programs of their own.
"""

from vpp.domain.baseline import FEWEST_VALID_DAYS, LOOKBACK_DAYS, METHODS
from vpp.domain.delivery import CLOSE_NEIGHBOURS_S, FAR_NEIGHBOURS_S, UNCOUNTED_S
from vpp.domain.quantities import two_decimals

EXAMPLE = {
    "event.json": """{"event_id": "ev-2026-09-09-1", "program_id": "elrp-a4-pge",
 "time_zone": "America/Los_Angeles", "versions": [
 {"effective_at": "2026-09-09T19:00:00Z", "status": "scheduled",
  "intervals": [{"starts_at": "2026-09-10T01:00:00Z",
                 "ends_at": "2026-09-10T04:00:00Z"}]},
 {"effective_at": "2026-09-10T02:37:00Z", "status": "cancelled",
  "intervals": []}]}
""",
    "sites.csv": """site_id,owner_id,meter,opted_out_at
s-7f3a,o-19,device,
s-90b2,o-20,site,2026-09-10T02:10:00Z
""",
    "meter.csv": """site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality
s-7f3a,2026-09-10T01:00:00Z,12319540,13853641,,,OK
s-90b2,2026-09-10T01:00:00Z,,,8812400,903110,ESTIMATED
""",
    "excluded_days.csv": """site_id,date,reason
*,2026-09-03,event
s-90b2,2026-08-28,outage
""",
    "prices.csv": """program_id,hour_starts_at,usd_per_mwh
elrp-a4-pge,2026-09-10T01:00:00Z,184.25
""",
    "carried.csv": """site_id,event_id,starts_at,incremental_wh
s-7f3a,ev-2026-08-17-1,2026-08-18T01:00:00Z,-1860
s-7f3a,ev-2026-09-01-1,2026-09-02T01:00:00Z,37/3
""",
    "period.csv": """site_id,event_id,weight,kw
s-7f3a,ev-2026-08-17-1,1,4.8
s-7f3a,ev-2026-09-01-1,1,37/30
""",
    "settlement.csv": """site_id,hour_starts_at,metered_wh,baseline_wh,fraction,incremental_wh,quality
s-7f3a,2026-09-10T02:00:00Z,2600,1200,37/60,1860,OK
""",
    "totals.csv": """site_id,owner_id,incremental_wh,paid_wh,amount_usd,quality,reason
s-7f3a,o-19,5360,5360,10.72,OK,
""",
}
"""What each file looks like; ``program.toml`` is a file of ``config/programs``."""

_MEANING = {
    "event.json": "The last version counts. A cancel ends the event at its effective_at, the controller's "
    "commit, and a second one moves nothing; the event begins no earlier than its first version's. Times are "
    "RFC 3339.",
    "sites.csv": "The settled sites. meter: device (the battery's counters) or site (the grid meter, whose "
    "baseline follows the event day). opted_out_at: settlement of the site ends there; may be empty "
    "or left off.",
    "meter.csv": "Lifetime counters in whole Wh, empty where unused; any order of rows. charged_wh or "
    "exported_wh empty in all rows of a site counts as nothing. quality: OK, ESTIMATED or BAD, taken as it "
    "stands. Two values for one site and instant make the hour BAD.",
    "excluded_days.csv": "Local days kept out of baselines; * is every site. reason: event, dual_event or "
    "outage.",
    "prices.csv": "Only where a program weighs the hours of a month by their wholesale price; without it, or "
    "without a price above zero for each hour of the event, all weigh the same.",
    "carried.csv": "Only where a season nets (negative_policy net_season_floor_zero): incremental_wh of each "
    "earlier event of the season, as that event's own bundle computes it; exact. With C their sum and E this "
    "event's incremental_wh, paid_wh = max(0, C + E) - max(0, C): energy is netted; rate, caps and "
    "minimum hold event by event. Without it C is 0, and a note says so.",
    "period.csv": "Only where a month or a season pays for mean power: kw of its other events, before and "
    "after, as their own bundles compute it; exact. A season has one row per event, its paid_wh over its "
    "length, weighing 1; a month one per clock hour, incremental_wh over the part of the hour that counts, "
    "weighing that part in hours, times usd_per_mwh where prices.csv is there. What an owner left undone "
    "counts with 0 kW. amount_usd is then what the whole period has come to: the weighted mean kw times the "
    "rate. It stands in the bundle of each of its events: amounts of several bundles are not to be added up. "
    "Without the file this event is taken as the only one, and a note says so.",
    "settlement.csv": "Optional, compared. One row per site and clock hour, Wh exact (a whole number or a "
    "fraction such as 37/3). baseline_wh is of the whole hour, fraction the part of it that counts: "
    "incremental_wh = metered_wh - baseline_wh x fraction; for a grid meter (load) the other way round.",
    "totals.csv": "Optional, compared. incremental_wh is signed, before the rule for hours below the "
    "baseline; paid_wh after it, before cap_kwh; amount_usd is rounded once, half up to the cent. reason is "
    "for people and not compared.",
}


_OF_MANIFEST = (
    "Optional. files: SHA-256 of each other file, in hex; one that is named and absent differs, and so "
    "does one that is not named. chain_head: of the ledger's hash chain, in hex; vpp ledger verify "
    "--head says whether the books still have it. kid, public_key (base64url of the 32 raw bytes) and "
    "signature may be left off, all three: a detached JWS (Ed25519) over the other fields as compact JSON "
    "with sorted keys. A signed manifest is laid out to the byte as here, with sorted keys, each on its "
    "line; vpp keys show prints the key to compare with."
)
MANIFEST = """{
 "chain_head": "5f0c61d0a5a1f39c2a0c5e5b8a3f3b1f6c1f4f0d1e2d3c4b5a69788796a5b4c3",
 "event_id": "ev-2026-09-09-1",
 "files": {
  "event.json": "9b1a5d0e6f2c4b8a7d3e1f0a9c8b7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c",
  "meter.csv": "0c1b2a3f4e5d6c7b8a9f0e1d2c3b4a5f6e7d8c9b0a1f2e3d4c5b6a7f8e9d0c1b"
 },
 "kid": "k-3f9a1c",
 "public_key": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
 "schema": "vpp.evidence/1",
 "signature": "eyJhbGciOiJFZERTQSJ9..hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6d"
}
"""
"""What ``manifest.json`` looks like; ``files`` names every file there is."""


def _bounds() -> str:
    """Return, for people, between what the methods keep the ratio of the event's day."""
    return ", ".join(
        f"{two_decimals(each.adjustment.lowest)} to {two_decimals(each.adjustment.highest)} ({name})"
        for name, each in METHODS.items()
        if each.adjustment is not None
    )


RULES = {
    "Hours": "Each clock hour of the time zone counts for the part of it that the event was on, before the "
    "site's opt-out and inside the program's season, daily window and event_max_h; not season_cap_h, whose "
    "other events no bundle holds. Times are cut to whole seconds. The event's date, which chooses the "
    "edition, the kind of day and the days before, is that of its scheduled start.",
    "Energy": "Of a device discharged less charged, of a site imported less exported Wh. A counter at an "
    "instant is the reading then, or on the straight line between the nearest before and after, rounded "
    f"half up to the Wh: OK where these are at most {CLOSE_NEIGHBOURS_S} s apart, ESTIMATED up to "
    f"{FAR_NEIGHBOURS_S // 60} min, MISSING beyond. A BAD reading inside or next to an end makes the hour "
    "BAD; an ESTIMATED one counts only at or next to an end. Where a counter falls, another one begins: "
    "nothing is counted between the readings before and after, and the hour is ESTIMATED, or MISSING where "
    f"they are over {UNCOUNTED_S // 60} min apart. But one that falls to no less than it was as the hour "
    "began, and not to zero, had jumped, and its jump is taken off. A row with one counter of a pair, where "
    "the site has both, says nothing. A MISSING or BAD hour counts zero.",
    "Baseline": f"Similar days are, of the {LOOKBACK_DAYS} days before the event's date, those of its kind "
    "(weekdays; or weekends and, where holidays are NERC, its six holidays) that are not excluded and have "
    "each of the event's clock hours OK or ESTIMATED. Hours after midnight are compared with the night after "
    "the similar day; an hour that a clock skips is MISSING. ten_of_ten and caiso_ten_of_ten average the ten "
    "latest, of rest days the four latest. five_of_ten averages the five highest of the ten latest, of rest "
    "days the three highest of the five latest, which weigh 50, 30 and 20 %, the highest most; a day is as "
    "high as its energy in all the event's clock hours. Where there are fewer, or fewer than "
    f"{FEWEST_VALID_DAYS} days of any kind with data, quality is NO_BASELINE and the event earns nothing.",
    "Day of the event": "A site's baseline, never a device's, is multiplied by load over baseline of the "
    "first three of the four clock hours before the event, with five_of_ten also of the last three of the "
    f"four after it, kept within {_bounds()}. It is multiplied by 1 where one of these hours is MISSING or "
    "BAD, on the day or on a day averaged, or where the baseline of them is not above zero.",
    "Money": "rate x paid kWh, these at most cap_kwh, x bonus_multiplier x owner_share; at least "
    "minimum_amount, which an event earns only where an hour counts and its quality is OK or ESTIMATED, a "
    "month or season in any case; and then at most cap_amount. There an event without a baseline counts "
    "with 0 kW.",
}
"""How a bundle is computed, where its files leave it open."""


def formats() -> str:
    """Return each file's meaning and an example, for a terminal; ``\\b`` keeps a block's lines."""
    parts = []
    for name, example in EXAMPLE.items():
        parts.append(f"{name}: {_MEANING[name]}")
        parts.append("\b\n" + example.rstrip())
    parts.append("program.toml: the program's terms, as in config/programs.")
    parts.append(f"manifest.json: {_OF_MANIFEST}")
    parts.append("\b\n" + MANIFEST.rstrip())
    parts.extend(f"{name}: {rule}" for name, rule in RULES.items())
    return "\n\n".join(parts)
