"""``vpp gateway check``: whether a gateway that somebody builds does what the protocol says."""

import asyncio
import ipaddress
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.adapters.clock import WallClock
from vpp.adapters.keys import KEY_FILE, FileKeys, KeyFileRefused
from vpp.adapters.mqtt import Access, MqttTransport, NotABrokerUrl, TlsFiles
from vpp.domain.enrollment import NotASiteId, require_site_id
from vpp.entrypoints import rendering
from vpp.entrypoints.asking import JsonFlag, answer, fail, run, settings_or_exit, stderr
from vpp.entrypoints.gateway_check import SENT_FROM, Subject, check_gateway
from vpp.entrypoints.operations.desk import Json, OperationRefused
from vpp.wire.signed import NotAKey, VerifyingKey

CHECK_SITE = "check-"
CONNECT_WITHIN_S = 10.0
HELP = """Look at one gateway that is connected, and say of what the protocol asks whether it does it.

Without --control it listens for up to five minutes and sends nothing.

With --control it sends commands as a controller does, and the battery discharges for some minutes. What is
unsigned, badly signed, another site's, of an unknown key, malformed, too early, expired, too long or below
the reserve must be refused. A start, the same again, one out of order, a renewal and a release must be
answered and obeyed, a lease that nobody renews must end by itself, and a receipt must free what it covers.
Every lease is at most five minutes: should this end halfway, the home is soon its own again.

It signs with a key of its own, made in --key-dir on first use: pin in the gateway what it prints. A gateway
in service pins another and refuses everything. The site's id begins with check-, and a broker on another
machine needs the site once more with --confirm.

Exit codes: 0 nothing failed, 1 something failed or the broker cannot be reached, 2 usage."""

gateway_app = typer.Typer(no_args_is_help=True, help="For whoever builds a gateway.")


@gateway_app.callback()
def gateway() -> None:
    """Keep ``check`` a command of its own, whatever else comes."""


@gateway_app.command("check", help=HELP)
def check(
    site: Annotated[str, typer.Argument(metavar="SITE", help="Its site id; begins with check-.")],
    gateway_key: Annotated[str, typer.Option(metavar="B64URL", help="Its Ed25519 public key.")],
    broker: Annotated[
        str, typer.Option(metavar="URL", help="mqtt://host:port, mqtts://user:password@host.")
    ] = "mqtt://127.0.0.1:1883",
    shard: Annotated[str, typer.Option(metavar="HH", help="The two hex digits in its topics.")] = "00",
    control: Annotated[
        bool, typer.Option("--control", help="Send commands; the battery discharges.")
    ] = False,
    key_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the key of --control is kept.")
    ] = None,
    power: Annotated[int, typer.Option(metavar="W", min=500, max=20_000, help="What to ask for.")] = 1_000,
    confirm: Annotated[
        str, typer.Option(metavar="SITE", help="The site again, where the broker is not on this machine.")
    ] = "",
    ca: Annotated[str | None, typer.Option(metavar="PEM", help="Authority of an mqtts broker.")] = None,
    certificate: Annotated[str | None, typer.Option(metavar="PEM", help="Ours towards it.")] = None,
    certificate_key: Annotated[str | None, typer.Option(metavar="PEM", help="Its key.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check one gateway; exit 1 where something fails."""
    subject = _subject(site, shard, gateway_key, power)
    try:
        tls = TlsFiles(ca, certificate, certificate_key)
        access = Access.from_url(broker, client_id=f"vpp-check-{secrets.token_hex(4)}", tls=tls)
    except NotABrokerUrl as refused:
        fail(str(refused), code=2)
    if control and not _is_here(access.host) and confirm != site:
        fail(f"broker {access.host} is not on this machine; --confirm {site} says that you mean it", code=2)
    keys = _own_keys(key_dir) if control else None
    if keys is not None:
        stderr.print(
            f"pin in the gateway: {keys.kid}:{VerifyingKey(keys.public_key).text}",
            markup=False,
            soft_wrap=True,
        )
    found = run(_check(subject, replace(access, persistent=False), keys))
    answer(found, _show, as_json=as_json)
    if not found["passed"]:
        raise typer.Exit(1)


def _subject(site: str, shard: str, gateway_key: str, power: int) -> Subject:
    if not site.startswith(CHECK_SITE):
        fail(f"site {site[:40]!r} does not begin with {CHECK_SITE}; homes in service are not checked", code=2)
    if not re.fullmatch("[0-9a-f]{2}", shard):
        fail(f"shard {shard[:10]!r} is not two hex digits", code=2)
    try:
        return Subject(require_site_id(site), shard, VerifyingKey.from_text(gateway_key), power)
    except (NotASiteId, NotAKey) as refused:
        fail(str(refused), code=2)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_keys(key_dir: Path | None) -> FileKeys:
    """Return the key of checks; never the controller's."""
    if key_dir is None:
        fail("--control needs --key-dir FOLDER, where the key of checks is made and kept", code=2)
    if (key_dir / KEY_FILE).resolve() == (settings_or_exit().state_dir / KEY_FILE).resolve():
        fail(f"{key_dir} holds the controller's own key; name another folder", code=2)
    try:
        return FileKeys(key_dir)
    except (KeyFileRefused, OSError) as refused:
        fail(str(refused), code=2)


async def _check(subject: Subject, access: Access, keys: FileKeys | None) -> Json:
    filters = [subject.topic(kind) for kind in SENT_FROM]
    async with MqttTransport(access, filters=filters, jitter=secrets.SystemRandom().random) as transport:
        try:
            await asyncio.wait_for(transport.wait_connected(), CONNECT_WITHIN_S)
        except TimeoutError:
            why = transport.last_problem or "no answer"
            raise OperationRefused(f"broker {access.host}:{access.port} cannot be reached: {why}") from None
        return await check_gateway(subject, transport, keys, clock=WallClock(), say=_say)


def _say(line: str) -> None:
    stderr.print(line, markup=False, soft_wrap=True)


def _show(console: Console, found: dict[str, Any]) -> None:
    rows = [(each["check"], each["state"], each["asks"], each["found"]) for each in found["checks"]]
    console.print(rendering.table("check", "state", "the protocol", "this gateway", rows=rows))
    failed = sum(each["state"] == "failed" for each in found["checks"])
    console.print(f"{found['site_id']}: {f'{failed} failed' if failed else 'nothing failed'}", soft_wrap=True)
