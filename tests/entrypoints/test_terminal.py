"""What stands on a person's screen was put there by us, whatever the texts in it say."""

import io

import pytest
from rich.console import Console

from vpp.entrypoints.asking import stderr, stdout
from vpp.entrypoints.rendering import table
from vpp.entrypoints.terminal import Terminal, readable

CLEARS_THE_SCREEN = "Emergency\x1b[2J\x1b[HAll is well"


def printed(console: Console, file: io.StringIO) -> str:
    console.print(f"event {CLEARS_THE_SCREEN}", markup=False)
    console.print(table("name", rows=[[CLEARS_THE_SCREEN]]))
    console.print("Heat wave 🔥, 4,5 Mio. €\nsecond line", markup=False)
    return file.getvalue()


def test_no_text_controls_the_terminal_it_is_printed_on():
    file = io.StringIO()

    shown = printed(Terminal(file=file, width=120), file)

    assert "\x1b" not in shown
    assert shown.count(r"Emergency\x1b[2J\x1b[H") == 2
    assert "Heat wave 🔥, 4,5 Mio. €\nsecond line\n" in shown


def test_a_plain_console_would_have_sent_it():
    file = io.StringIO()

    assert "\x1b[2J" in printed(Console(file=file, width=120), file)


def test_colours_and_bars_of_ours_still_work():
    file = io.StringIO()

    Terminal(file=file, force_terminal=True, color_system="standard").print("late", style="bold yellow")

    assert file.getvalue() == "\x1b[1;33mlate\x1b[0m\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("niño – 5 €", "niño – 5 €"),
        ("\x9b2J", r"\x9b2J"),
        ("paid \u202e00.1$", r"paid \u202e00.1$"),
        ("half \ud800", r"half \ud800"),
        ("a\tb\nc", "a\tb\nc"),
    ],
)
def test_only_what_is_no_sign_is_written_as_its_escape(text: str, shown: str):
    assert readable(text) == shown


def test_every_command_prints_through_it():
    assert isinstance(stdout, Terminal)
    assert isinstance(stderr, Terminal)


def test_an_id_is_not_broken_on_a_narrow_terminal_so_that_it_can_be_copied():
    file = io.StringIO()
    columns = ("event", "state", "program", "starts", "ends", "asks", "flags")
    when = "Wed 9 Sep 2026 5:00 PM PDT"

    Terminal(file=file, width=80).print(
        table(*columns, rows=[["ev-2026-09-09-1", "ended", "elrp-a4-pge", when, when, "500.0 kW", "-"]])
    )

    assert "ev-2026-09-09-1 " in file.getvalue()
    assert max(len(line) for line in file.getvalue().splitlines()) <= 80
