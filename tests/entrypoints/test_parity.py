"""Whatever a page can do a command can do: made from the pages' own source, so that a new hole fails."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

import vpp.entrypoints.http as http
from vpp.entrypoints.cli import app
from vpp.entrypoints.operations import (
    board,
    contacts,
    disputes,
    events,
    fairness,
    forgetting,
    granting,
    money,
    own_data,
    own_files,
    owner,
    owner_money,
    sites,
    staff_reads,
    starting,
)
from vpp.entrypoints.routes import ROUTES

OPERATIONS = "vpp.entrypoints.operations"
PAGES = sorted(Path(http.__file__).parent.glob("pages_*.py"))
AS_STAFF = {
    owner.show_own_home: staff_reads.read_home,
    owner.show_own_events: staff_reads.read_history,
    owner_money.show_own_event: staff_reads.read_event,
    owner_money.show_own_payouts: own_data.export_owner,
    own_data.show_own_data: own_data.export_owner,
    own_files.own_tables: own_data.export_owner,
    own_files.green_button: own_files.read_green_button,
    own_files.calendar_by_secret: own_data.open_calendar,
    contacts.show_contact: staff_reads.read_contact,
    contacts.speak: contacts.keep_contact,
    disputes.own_disputes: staff_reads.read_disputes,
    fairness.own_seasons: staff_reads.read_site_history,
    forgetting.why_not_yet: forgetting.forget_owner,
    money.show_statement: staff_reads.read_statement,
    board.every_site: board.list_fleet,
    events.outline_event: events.list_events,
}
"""What a page asks for its owner, and what gives the same to a command."""
PARTS = {
    owner.own_home,
    owner.homes_of,
    sites.REASON_WORDS.get,
    starting.read_wish,
    granting.is_first_person,  # a command that may not grant is told so when it asks
}


def asked_by(page: Path) -> Iterator[object]:
    """Give every operation that a page's source calls with the desk."""
    tree = ast.parse(page.read_text(encoding="utf-8"))
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(OPERATIONS):
            for name in node.names:
                modules[name.asname or name.name] = f"{node.module}.{name.name}"
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Name)):
            continue
        if node.args[0].id != "desk":
            continue
        called = node.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            if called.value.id in modules:
                yield getattr(importlib.import_module(modules[called.value.id]), called.attr)
        elif isinstance(called, ast.Name) and called.id in modules:
            module, _, name = modules[called.id].rpartition(".")
            yield getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_whatever_a_page_asks_for_stands_in_the_routes_of_commands(page: Path) -> None:
    asked = {each for each in asked_by(page) if inspect.isfunction(each) and each not in PARTS}
    missing = {each.__name__ for each in asked if AS_STAFF.get(each, each) not in ROUTES}

    assert missing == set()


def test_pages_do_ask_for_something() -> None:
    assert len({each for page in PAGES for each in asked_by(page)}) > 30


def test_every_operation_of_the_routes_is_asked_for_by_a_command() -> None:
    source = "\n".join(
        each.read_text(encoding="utf-8") for each in Path(http.__file__).parents[1].glob("*cli*.py")
    )
    source += (Path(http.__file__).parents[1] / "cli.py").read_text(encoding="utf-8")

    assert {each.__name__ for each in ROUTES if f".{each.__name__}" not in source} == {
        "show_board"  # vpp event watch follows its stream
    }


def test_every_command_answers_with_json() -> None:
    speaks = {"home-assistant"}  # it runs until it is ended, and answers nobody

    def without(command: object, name: str) -> Iterator[str]:
        children = getattr(command, "commands", None)
        if children is not None:
            for child, each in children.items():
                yield from without(each, child)
        elif not any("--json" in option.opts for option in command.params):  # type: ignore[attr-defined]  # of click
            yield name

    assert set(without(get_command(app), "vpp")) <= speaks
