"""``vpp doctor``: what is needed, whether it is there, and what to type where it is not.

Looks only; of what is missing nothing is made. Each line that fails ends with its remedy.
"""

import asyncio
import ctypes
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel

from vpp.adapters.clock import WallClock
from vpp.adapters.keys import KEY_FILE, FileKeys, KeyFileRefused
from vpp.adapters.mqtt import Access, NotABrokerUrl, TlsFiles
from vpp.adapters.sql.engine import UnknownDatabase
from vpp.adapters.sql.store import SqlStore
from vpp.adapters.vtn_client import VtnClient, VtnUnreachable
from vpp.entrypoints.operations.desk import Json, OperationRefused
from vpp.entrypoints.operations.health import CERTIFICATE_SOON_DAYS, certificate_facts
from vpp.entrypoints.running_service import RunningService, find_service
from vpp.ports import StoreUnavailable
from vpp.settings import BadSettings, BrokerTls, Settings, VtnSettings, load_programs, load_settings

CONNECT_WITHIN_S = 5.0
LOOK_EVERY_S = 0.25
_TIMEX_BYTES = 512  # more than any libc's struct timex
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``fix`` says what to type or set where the state is not ok."""

    check: str
    state: Literal["ok", "warning", "failed"]
    detail: str
    fix: str | None = None


class Topic(BaseModel):
    """What became of the messages of one kind."""

    received: int
    lost: int
    refused: dict[str, int]


class Traffic(BaseModel):
    """What a running service says of its messages."""

    topics: dict[str, Topic]
    unknown_fields: dict[str, int]
    shed: dict[str, int]
    pending: dict[str, str]


async def examine(config_file: Path | None) -> Json:
    """Look at everything the product needs.

    Returns:
        ``healthy``, and ``checks``: each with ``check``, ``state`` (``ok``, ``warning`` or ``failed``),
        ``detail``, and ``fix`` (what to do, or None).
    """
    findings = [finding async for finding in _findings(config_file)]
    healthy = all(finding.state != "failed" for finding in findings)
    return {"healthy": healthy, "checks": [asdict(finding) for finding in findings]}


async def _findings(config_file: Path | None) -> AsyncIterator[Finding]:
    try:
        settings = load_settings(config_file=config_file)
    except BadSettings as failure:
        yield Finding(
            "settings", "failed", str(failure), "change it there; config/default.toml lists every key"
        )
        return
    yield Finding("settings", "ok", "every key is known and every value usable")
    yield _programs(settings)
    yield _state_dir(settings.state_dir)
    yield _key(settings.state_dir)
    yield await _database(settings)
    service: RunningService | None = None
    try:
        service = await asyncio.to_thread(find_service, settings.state_dir)
        yield _service(service)
    except OperationRefused as refused:
        yield Finding("service", "failed", refused.detail, "end that process and start vpp serve again")
    if service is not None:
        yield await asyncio.to_thread(_messages, service)
    yield _port(settings.http_port, service)
    yield await _broker(settings, service)
    for source, vtn in settings.vtns.items():
        yield await _vtn(source, vtn)
    for path in settings.broker_tls.certificates:
        yield _certificate(path)
    yield _clock()


def _programs(settings: Settings) -> Finding:
    try:
        programs = load_programs(settings)
    except BadSettings as failure:
        return Finding("programs", "failed", str(failure), "mend that file, or set VPP_PROGRAMS_DIR")
    return Finding("programs", "ok", ", ".join(sorted(programs)))


async def _vtn(source: str, settings: VtnSettings) -> Finding:
    check = f"VTN of {source}"
    secret = settings.secret_file
    if secret.exists() and secret.stat().st_mode & 0o077:
        detail = f"{secret} can be read by others on this machine"
        return Finding(check, "failed", detail, f"type: chmod 600 {secret}")
    try:
        events = await VtnClient(settings.access).events()
    except VtnUnreachable as failure:
        fix = f"see [vtns.{source}] in the settings: url, client_id, secret_file, token_url"
        return Finding(check, "failed", str(failure), fix)
    return Finding(check, "ok", f"{len(events)} events at {settings.url}")


def _state_dir(path: Path) -> Finding:
    if not path.exists():
        return Finding("state directory", "ok", f"{path} is not there; the first command makes it")
    if not path.is_dir():
        return Finding("state directory", "failed", f"{path} is no directory", "set VPP_STATE_DIR to another")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        detail = f"{path} has mode {mode:04o}: others on this machine can look inside"
        return Finding("state directory", "failed", detail, f"type: chmod 700 {path}")
    if not os.access(path, os.W_OK | os.X_OK):
        return Finding("state directory", "failed", f"{path} cannot be written", f"type: chown $USER {path}")
    return Finding("state directory", "ok", f"{path}, for its user alone")


def _key(state_dir: Path) -> Finding:
    if not (state_dir / KEY_FILE).exists():
        return Finding("signing key", "ok", "is not there; the first command makes it")
    try:
        keys = FileKeys(state_dir)
    except (KeyFileRefused, OSError) as failure:
        return Finding("signing key", "failed", str(failure), f"see {state_dir / KEY_FILE}")
    return Finding("signing key", "ok", f"{keys.kid}; vpp keys show prints what gateways pin")


async def _database(settings: Settings) -> Finding:
    url = settings.store_url
    shown = url if url.startswith("sqlite") else f"PostgreSQL at {urlsplit(url).hostname}"
    if _not_made_yet(url):
        folder = Path(url.removeprefix("sqlite:///")).parent
        if not folder.is_dir() and folder != settings.state_dir:
            fix = f"type: mkdir -p {folder}, or set VPP_DATABASE_URL to another place"
            return Finding("database", "failed", f"{shown}: there is no folder {folder}", fix)
        return Finding("database", "ok", f"{shown} is not there; the first command makes it")
    try:
        store = await SqlStore.open(url)
    except (StoreUnavailable, UnknownDatabase) as failure:
        fix = "start the database server, or set VPP_DATABASE_URL to one that runs"
        return Finding("database", "failed", f"{shown}: {failure}", fix)
    try:
        await store.ready()
    finally:
        await store.close()
    return Finding("database", "ok", f"{shown} answers, its tables are up to date")


def _not_made_yet(url: str) -> bool:
    return url.startswith("sqlite") and not Path(url.removeprefix("sqlite:///")).exists()


def _service(service: RunningService | None) -> Finding:
    if service is None:
        return Finding("service", "ok", "vpp serve does not run; commands use the database directly")
    return Finding("service", "ok", f"vpp serve runs as process {service.pid} on port {service.port}")


def _messages(service: RunningService) -> Finding:
    """Say what the service received, and what of it is worth a look."""
    try:
        seen = Traffic.model_validate(service.ask("GET", "/api/v1/traffic", actor="doctor"))
    except OperationRefused as refused:
        return Finding("messages", "warning", refused.detail, "ask again when vpp serve has started")
    received = sum(topic.received for topic in seen.topics.values())
    worth_a_look = {
        **{
            f"{kind} refused: {reason}": count
            for kind, topic in seen.topics.items()
            for reason, count in topic.refused.items()
        },
        **{f"{kind} lost": topic.lost for kind, topic in seen.topics.items()},
        **{f"{kind} with unknown fields": count for kind, count in seen.unknown_fields.items()},
        **{f"{way} shed": count for way, count in seen.shed.items()},
    }
    found = [f"{count} {what}" for what, count in sorted(worth_a_look.items()) if count]
    found += [f"{what} failed: {why}" for what, why in seen.pending.items()]
    if not found:
        return Finding("messages", "ok", f"{received} received since the start, none refused")
    detail = f"{received} received since the start; " + ", ".join(found)
    return Finding("messages", "warning", detail, "the log of vpp serve names each reason once a second")


def _port(port: int, service: RunningService | None) -> Finding:
    if service is not None:
        return Finding("HTTP port", "ok", f"{service.port} is ours")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as failure:
            detail = f"port {port} on 127.0.0.1: {failure.strerror}"
            return Finding("HTTP port", "failed", detail, "set VPP_HTTP_PORT to a free port, or to 0 for any")
    return Finding("HTTP port", "ok", f"{port} is free")


async def _broker(settings: Settings, service: RunningService | None) -> Finding:
    leads = False
    if service is not None:
        needs = await _connected_soon(service)
        if needs.get("broker"):
            return Finding("broker", "ok", "vpp serve is connected to it")
        leads = bool(needs.get("leads", True))  # one that stands by needs no broker yet
    found = await examine_broker(settings)
    if found.state == "ok" and leads:
        detail = f"vpp serve is not connected to its broker, and no home hears it ({found.detail})"
        fix = "the log of vpp serve says why; where that is no help, end vpp serve and start it again"
        return Finding("broker", "failed", detail, fix)
    return found


async def _connected_soon(service: RunningService) -> Json:
    """Return what the service needs, once connected, or after the time a connection may take."""
    needs = await asyncio.to_thread(service.readiness)
    for _ in range(int(CONNECT_WITHIN_S / LOOK_EVERY_S)):
        if needs.get("broker"):
            break
        await asyncio.sleep(LOOK_EVERY_S)
        needs = await asyncio.to_thread(service.readiness)
    return needs


async def examine_broker(settings: Settings) -> Finding:
    """Return whether the broker of the settings takes connections, whatever service runs."""
    if settings.broker_url == "embedded":
        return Finding("broker", "ok", "the embedded broker starts with vpp serve")
    fix = "start the broker, or set VPP_BROKER_URL to one that runs"
    try:
        access = Access.from_url(
            settings.broker_url, client_id="vpp-doctor", tls=_tls_files(settings.broker_tls)
        )
        context = _tls_context(access.tls) if access.tls else None
        async with asyncio.timeout(CONNECT_WITHIN_S):
            _, writer = await asyncio.open_connection(access.host, access.port, ssl=context)
        writer.close()
    except TimeoutError:
        return Finding("broker", "failed", f"does not answer within {CONNECT_WITHIN_S:.0f} s", fix)
    except ssl.SSLError as failure:
        detail = f"{access.host}:{access.port}: {failure.reason}"
        return Finding(
            "broker", "failed", detail, "set VPP_BROKER_TLS__CA to the authority of its certificate"
        )
    except (OSError, NotABrokerUrl) as failure:
        return Finding("broker", "failed", str(failure), fix)
    return Finding("broker", "ok", f"{access.host}:{access.port} takes connections")


def _certificate(path: Path) -> Finding:
    facts = certificate_facts(path, WallClock().now())
    check, days = f"certificate {path.name}", facts["days_left"]
    if not isinstance(days, int):
        return Finding(check, "failed", str(facts["fault"]), "set VPP_BROKER_TLS__… to a PEM file")
    if days < 0:
        return Finding(check, "failed", f"{path} ended {facts['ends_at']}", "put a new one in its place")
    if days < CERTIFICATE_SOON_DAYS:
        detail = f"{path} ends {facts['ends_at']}, in {days} days"
        return Finding(check, "warning", detail, "put a new one in its place before then")
    return Finding(check, "ok", f"holds until {facts['ends_at']}")


def _tls_files(files: BrokerTls) -> TlsFiles:
    return TlsFiles(ca=files.ca, certificate=files.certificate, key=files.key)


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca)
    if files.certificate:
        context.load_cert_chain(files.certificate, files.key)
    return context


def _clock() -> Finding:
    """Ask the kernel whether something keeps its clock right: homes refuse commands 30 s ahead of theirs."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (AttributeError, OSError):
        return Finding(
            "clock", "warning", "this system does not say whether its clock is kept right", "use NTP"
        )
    if state == _TIME_ERROR or state < 0:
        detail = "is not synchronised: homes refuse commands from a clock 30 s ahead of theirs"
        return Finding("clock", "warning", detail, "start systemd-timesyncd or chrony")
    return Finding("clock", "ok", "is kept right by the system")
