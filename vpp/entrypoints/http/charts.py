"""Charts as SVG made here: measured solid, forecast dashed, target as a step; no script, no style attribute.

Knows points and labels; refuses to know what an event is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from zoneinfo import ZoneInfo

from markupsafe import Markup

WIDTH, HEIGHT = 720, 256
LEFT, RIGHT, TOP, BOTTOM = 108, 40, 16, 48  # 1000 MW in the type of a phone stands left of the lines
LINES_ACROSS = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: a CSS class, a name for people, and points of (instant, watts).

    Where the watts are not known the line has a gap.
    """

    css: str
    name: str
    points: Sequence[tuple[datetime, int | None]]
    steps: bool = False


def power_chart(
    lines: Sequence[Line], *, starts_at: datetime, ends_at: datetime, zone: str, now: datetime | None
) -> Markup:
    """Return lines of power over time as one SVG with a title that says the same in words."""
    most = _nice(max((watts for line in lines for _, watts in line.points if watts), default=0) * 21 // 20)
    scale = _Scale(starts_at, ends_at, most)
    parts = [_grid(scale, zone)]
    parts += [
        Markup('<polyline class="line {}" points="{}"/>').format(line.css, points)
        for line in lines
        for points in scale.pieces(line)
    ]
    if now is not None and starts_at <= now <= ends_at:
        parts.append(
            Markup(
                '<line class="now" x1="{0}" x2="{0}" y1="{1}" y2="{2}" data-left="{3}" data-right="{4}"/>'
            ).format(scale.x(now), TOP, HEIGHT - BOTTOM, LEFT, WIDTH - RIGHT)
        )
    last = {line.name: _last(line) for line in lines}
    words = "; ".join(f"{name}: {watts}" for name, watts in last.items() if watts) or "no power yet"
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="Power over time. {}">{}</svg>'
    ).format(WIDTH, HEIGHT, words, Markup("").join(parts))


@dataclass(frozen=True, slots=True)
class _Scale:
    starts_at: datetime
    ends_at: datetime
    most_w: int

    def x(self, at: datetime) -> str:
        whole = (self.ends_at - self.starts_at).total_seconds() or 1
        part = min(1.0, max(0.0, (at - self.starts_at).total_seconds() / whole))
        return f"{LEFT + part * (WIDTH - LEFT - RIGHT):.1f}"

    def y(self, watts: int) -> str:
        part = min(1.0, watts / self.most_w)
        return f"{HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM):.1f}"

    def pieces(self, line: Line) -> list[str]:
        """Return the line's points, one text for each piece without a gap."""
        pieces: list[list[str]] = [[]]
        before: int | None = None
        for at, watts in line.points:
            if watts is None:
                pieces.append([])
            else:
                if line.steps and before is not None:
                    pieces[-1].append(f"{self.x(at)},{self.y(before)}")
                pieces[-1].append(f"{self.x(at)},{self.y(watts)}")
            before = watts
        return [" ".join(piece) for piece in pieces if piece]


def _grid(scale: _Scale, zone: str) -> Markup:
    parts = []
    for number in range(LINES_ACROSS + 1):
        watts = scale.most_w * number // LINES_ACROSS
        y = scale.y(watts)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, WIDTH - RIGHT, y, y)
        )
        label = f"{watts / 1e6:g} MW" if scale.most_w >= 1_000_000 else f"{watts / 1000:g} kW"
        parts.append(
            Markup('<text class="label" x="{}" y="{}" text-anchor="end">{}</text>').format(
                LEFT - 6, f"{float(y) + 4:.1f}", label
            )
        )
    for number, at in enumerate(_marks(scale.starts_at, scale.ends_at, zone)):
        local = at.astimezone(ZoneInfo(zone))
        css = "label between" if number % 2 else "label"  # a phone has room for every second one
        parts.append(
            Markup('<text class="{}" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                css, scale.x(at), HEIGHT - 12, f"{local.hour % 12 or 12}:{local:%M %p}"
            )
        )
    return Markup("").join(parts)


def _marks(starts_at: datetime, ends_at: datetime, zone: str) -> list[datetime]:
    """Return at most seven whole half hours or hours of the local clock inside the stretch."""
    minutes = (ends_at - starts_at).total_seconds() / 60
    every = next(step for step in (5, 10, 15, 30, 60, 120, 240, 480, 1440, 10**6) if minutes / step <= 7)
    local = starts_at.astimezone(ZoneInfo(zone))
    past = (local.hour * 60 + local.minute) % every
    at = starts_at - timedelta(minutes=past, seconds=local.second)
    marks = []
    while at <= ends_at:
        if at >= starts_at:
            marks.append(at)
        at += timedelta(minutes=every)
    return marks


def _nice(watts: int) -> int:
    """Return a round number at or above, so that the axis has round labels."""
    if watts <= 0:
        return 1000
    power = 1
    while power * 10 <= watts:
        power *= 10
    parts = (10, 12, 16, 20, 24, 32, 40, 60, 80, 100)
    return next(part * power // 10 for part in parts if part * power >= 10 * watts)


def share_bar(parts: Sequence[tuple[str, int]]) -> Markup:
    """Return shares of a whole as one bar, each part in its CSS class; the words stand beside it."""
    whole, x, drawn = sum(count for _, count in parts) or 1, 0.0, []
    for css, count in parts:
        width = 100 * count / whole
        drawn.append(
            Markup('<rect class="{}" x="{:.2f}" y="0" width="{:.2f}" height="10"/>').format(css, x, width)
        )
        x += width
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(Markup("").join(drawn))


def _last(line: Line) -> str:
    watts = next((watts for _, watts in reversed(line.points) if watts is not None), None)
    if watts is None:
        return ""
    return f"{watts / 1e6:.1f} MW" if watts >= 1_000_000 else f"{watts / 1000:.1f} kW"


def share_of(part: int, whole: int) -> int:
    """Return a share in whole percent, rounded up so that something is never shown as nothing."""
    return min(100, ceil(100 * part / whole)) if whole > 0 else 0
