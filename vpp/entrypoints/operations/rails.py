"""The guard rails of each program: its hours of this season, its window, its lengths."""

from vpp.domain.grid_event import season_seconds
from vpp.entrypoints.operations.desk import Desk, Json


async def list_programs(desk: Desk) -> Json:
    """Return ``programs`` by id, with the terms in force today and what the season has used.

    Returns:
        ``program_id, name, utility, time_zone``; ``terms`` (None before the first edition):
        ``window_opens, window_closes`` (local), ``event_min_s, event_max_s, season_cap_s, season_used_s,
        season_first, season_last`` (month-day)``, rate_usd_per_kwh``.
    """
    now = desk.clock.now()
    histories = await desk.store.histories()
    sources = {source.name: source for source in await desk.store.sources()}
    found: list[Json] = []
    for program in sorted(desk.programs.values(), key=lambda each: each.program_id):
        terms = program.terms_on(now.astimezone(program.zone).date())
        found.append(
            {
                "program_id": program.program_id,
                "name": program.name,
                "utility": program.utility,
                "time_zone": program.zone.key,
                "terms": None
                if terms is None
                else {
                    "window_opens": f"{terms.window_opens:%H:%M}",
                    "window_closes": f"{terms.window_closes:%H:%M}",
                    "event_min_s": terms.event_min_s,
                    "event_max_s": terms.event_max_s,
                    "season_cap_s": terms.season_cap_s,
                    "season_used_s": season_seconds(histories, sources, program, now),
                    "season_first": "{:02d}-{:02d}".format(*terms.season_first),
                    "season_last": "{:02d}-{:02d}".format(*terms.season_last),
                    "rate_usd_per_kwh": str(terms.rate.dollars_per_kwh),
                },
            }
        )
    return {"programs": found}
