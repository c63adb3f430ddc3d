"""``vpp user``: who may log in to the pages."""

import inspect
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.entrypoints import rendering
from vpp.entrypoints.asking import JsonFlag, actor, answer, ask
from vpp.entrypoints.operations import people

user_app = typer.Typer(no_args_is_help=True, help="People who may log in to the pages.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Login name.")]


@user_app.command("add", help=inspect.getdoc(people.add_user))
def add_user(
    name: NameArgument,
    role: Annotated[str, typer.Option(help="operator, approver, viewer, auditor, support or owner.")],
    owner: Annotated[str | None, typer.Option(metavar="OWNER", help="Whose homes an owner sees.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Let somebody log in."""
    password = sys.stdin.readline().rstrip("\n") if password_stdin else None
    found = ask(people.add_user, name=name, role=role, owner=owner, password=password, actor=actor())
    answer(found, _show_added, as_json=as_json)


def _show_added(console: Console, added: Any) -> None:
    console.print(f"{added['name']} may log in as {added['role']}", markup=False)
    if added["password"]:
        console.print(f"password, shown only now: {added['password']}", markup=False)


@user_app.command("list", help=inspect.getdoc(people.list_users))
def list_users(as_json: JsonFlag = False) -> None:
    """List everybody."""
    answer(ask(people.list_users), _show_users, as_json=as_json)


def _show_users(console: Console, found: Any) -> None:
    rows = [(each["name"], each["role"], each["owner_id"] or "-") for each in found["users"]]
    console.print(rendering.table("name", "role", "owner", rows=rows))


@user_app.command("link", help=inspect.getdoc(people.make_login_link))
def make_login_link(name: NameArgument, as_json: JsonFlag = False) -> None:
    """Make a link that logs in once."""
    answer(ask(people.make_login_link, name=name, actor=actor()), rendering.show_facts, as_json=as_json)
