"""California's counties as tiles, each about where it lies: drawn here, so that no map server is asked.

Short names are those of the state's highway department.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from vpp.entrypoints.http import words

TILE, GAP, SHADES = 60, 4, 4
TILES = """
DN:Del_Norte SIS:Siskiyou - MOD:Modoc
HUM:Humboldt TRI:Trinity SHA:Shasta LAS:Lassen
MEN:Mendocino TEH:Tehama BUT:Butte PLU:Plumas
LAK:Lake GLE:Glenn YUB:Yuba SIE:Sierra
SON:Sonoma COL:Colusa SUT:Sutter NEV:Nevada
MRN:Marin NAP:Napa YOL:Yolo PLA:Placer ED:El_Dorado
SF:San_Francisco SOL:Solano SAC:Sacramento AMA:Amador ALP:Alpine
SM:San_Mateo CC:Contra_Costa SJ:San_Joaquin CAL:Calaveras TUO:Tuolumne MNO:Mono
SCR:Santa_Cruz ALA:Alameda STA:Stanislaus MPA:Mariposa
- SCL:Santa_Clara MER:Merced MAD:Madera FRE:Fresno INY:Inyo
- MON:Monterey SBT:San_Benito KIN:Kings TUL:Tulare
- - SLO:San_Luis_Obispo KER:Kern
- - SB:Santa_Barbara VEN:Ventura LA:Los_Angeles SBD:San_Bernardino
- - - - ORA:Orange RIV:Riverside
- - - - SD:San_Diego IMP:Imperial
"""


def tiles() -> list[tuple[str, str, int, int]]:
    """Return short name, name, column and row of each county."""
    found = []
    for row, line in enumerate(TILES.strip().splitlines()):
        for column, cell in enumerate(line.split()):
            if cell != "-":
                short, _, name = cell.partition(":")
                found.append((short, name.replace("_", " "), column, row))
    return found


def county_map(counties: Sequence[Any], figure: str) -> Markup:
    """Return the map as SVG, shaded by one figure in watts; each county with homes leads to its homes.

    Args:
        counties: As ``list_counties`` has them.
        figure: ``spare_w`` or ``delivered_w``.
    """
    known = {_plain(county["name"]): county for county in counties}
    most_w = max((county[figure] for county in counties), default=0)
    drawn = [_tile(tile, known.get(_plain(tile[1])), figure, most_w) for tile in tiles()]
    columns, rows = 6, len(TILES.strip().splitlines())
    return Markup('<svg class="map" viewBox="0 0 {} {}" role="group" aria-label="Counties">{}</svg>').format(
        columns * (TILE + GAP), rows * (TILE + GAP), Markup("").join(drawn)
    )


def _plain(name: str) -> str:
    """Return a county's name as it compares: enrolment writes ``contra-costa`` or ``Contra Costa``."""
    return " ".join(name.lower().replace("-", " ").replace("_", " ").split())


def _tile(tile: tuple[str, str, int, int], county: Any, figure: str, most_w: int) -> Markup:
    short, name, column, row = tile
    x, y = column * (TILE + GAP), row * (TILE + GAP)
    if county is None:
        return Markup(
            '<g class="tile none"><title>{}: no homes</title><rect x="{}" y="{}" width="{}" height="{}"/>'
            '<text x="{}" y="{}">{}</text></g>'
        ).format(name, x, y, TILE, TILE, x + TILE // 2, y + TILE // 2 + 5, short)
    watts = county[figure]
    shade = 0 if not watts else 1 + min(SHADES - 1, SHADES * watts // (most_w + 1))
    return Markup(
        '<a href="/operator/fleet?county={}" class="tile shade{}"><title>{}: {}, {} homes, {} online</title>'
        '<rect x="{}" y="{}" width="{}" height="{}"/><text class="short" x="{}" y="{}">{}</text>'
        '<text x="{}" y="{}">{}</text></a>'
    ).format(
        quote(county["name"]), shade, name, words.power(watts), f"{county['sites']:,}",
        f"{county['online']:,}", x, y, TILE, TILE, x + TILE // 2, y + 26, short, x + TILE // 2, y + 44,
        _brief(watts),
    )  # fmt: skip


def _brief(watts: int) -> str:
    return f"{watts / 1e6:.1f} MW" if watts >= 1_000_000 else f"{watts / 1000:.0f} kW"
