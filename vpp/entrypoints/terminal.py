"""The terminal of a person: what others wrote can be read on it, and do nothing else to it."""

import unicodedata
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_LAYOUT = "\n\t"
_CONTROLS = ("Cc", "Cf", "Cs")
"""Controls of the terminal, of the direction of writing, and halves of characters."""


class Terminal(Console):
    """A console that shows control characters inside texts by their escapes instead of sending them.

    The name of an event, a cell of somebody's file and a home's fault are written elsewhere; an escape
    sequence in one of them could rewrite what stands on an operator's screen.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the pieces of what is printed; everything passes here, cells of tables too."""
        for segment in super().render(renderable, options):
            if segment.control:  # our own: the cursor of a bar
                yield segment
            else:
                yield Segment(readable(segment.text), segment.style)


def readable(text: str) -> str:
    """Return a text in which each character that is no sign, line end or tab is written as its escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        repr(each)[1:-1] if each not in _LAYOUT and unicodedata.category(each) in _CONTROLS else each
        for each in text
    )
