"""What can be set, where it was set, and what is wrong with it: config files and environment in one object.

``config/default.toml`` < ``config/local.toml`` or ``--config FILE`` < environment ``VPP_…`` < flags. Knows
files and variables; refuses to know what the values are used for. Read once, by the entrypoint.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from vpp.adapters.crash_points import CrashPoint
from vpp.adapters.vtn_client import VtnAccess
from vpp.domain.program import Program
from vpp.wire.program_file import ProgramFileError, read_program

CONFIG_DIR = Path(__file__).parent.parent / "config"
PREFIX = "VPP_"
NOT_SETTINGS = frozenset(("VPP_BENCH_SITES",))  # variables of the tools beside the product

Seconds = Annotated[int, Field(ge=0)]
LimitW = Annotated[int, Field(gt=0)]
RampW = Annotated[int, Field(ge=30_000)]  # in a minute; at one tick a second still 500 W for each


class BadSettings(Exception):
    """Settings cannot be used. The message is one line for each problem: where it stands, what holds."""


class DispatchSettings(BaseModel):
    """How the fleet is commanded. Times in seconds, power in watts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tick_s: Annotated[int, Field(ge=1, le=60)] = 15
    lease_s: Annotated[int, Field(ge=60, le=1800)] = 900  # a gateway refuses a lease above 30 min
    spread_s: Annotated[int, Field(ge=0, le=600)] = 60
    ramp_s: Annotated[int, Field(ge=0, le=600)] = 30
    ack_timeout_s: Annotated[int, Field(ge=1, le=300)] = 10
    sample_period_s: Annotated[int, Field(ge=1, le=300)] = 30  # the protocol's, from the first command on
    feeder_caps_w: Mapping[str, LimitW] = Field(default_factory=dict)
    zone_caps_w: Mapping[str, LimitW] = Field(default_factory=dict)
    fleet_ramp_w_per_min: RampW | None = None
    zone_ramp_w_per_min: Mapping[str, RampW] = Field(default_factory=dict)
    site_season_cap_h: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _lease_outlives_its_renewal(self) -> "DispatchSettings":
        if self.lease_s < 3 * self.tick_s:
            raise ValueError(
                f"lease_s {self.lease_s} is under three ticks of {self.tick_s} s: leases would run out "
                "between renewals"
            )
        return self


class BrokerTls(BaseModel):
    """PEM files for ``mqtts``. Without ``ca`` the system's authorities are trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def certificates(self) -> tuple[Path, ...]:
        """Return the files of this that hold certificates, which end some day."""
        return tuple(Path(name) for name in (self.ca, self.certificate) if name is not None)


class VtnSettings(BaseModel):
    """Somebody else's OpenADR 3.1 VTN; its table is named after the source that its events are of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    client_id: str
    secret_file: Path  # one line: what stands in a file of settings may be read by too many
    token_url: str = ""  # empty: where the VTN says
    poll_s: Annotated[int, Field(ge=5, le=3600)] = 30
    programs: Mapping[str, str] = Field(default_factory=dict)  # its program id = the program's id here

    @property
    def access(self) -> VtnAccess:
        """Return where it is, and as which client it is asked."""
        return VtnAccess(self.url, self.client_id, self.secret_file, self.token_url)

    @field_validator("url", "token_url")
    @classmethod
    def _nobody_reads_along(cls, url: str) -> str:
        if url and not re.fullmatch(
            r"https://[^@/?#\s]+(/[^?#\s]*)?|http://127\.0\.0\.1(:[0-9]+)?(/[^?#\s]*)?", url
        ):
            raise ValueError("expected https://host/path, without name or password in it")
        return url.rstrip("/")

    @field_validator("secret_file")
    @classmethod
    def _home_is_expanded(cls, path: Path) -> Path:
        return path.expanduser().absolute()


class Settings(BaseModel):
    """Everything that can be set, checked. ``store_url`` is the database after the default is filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    broker_url: str = "embedded"
    embedded_broker_port: Annotated[int, Field(ge=0, le=65535)] = 1883
    broker_tls: BrokerTls = Field(default_factory=BrokerTls)
    database_url: str = ""
    state_dir: Path = Field(default=Path("~/.local/state/vpp"), validate_default=True)
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    programs_dir: Path | None = None
    mail_url: str = ""
    production: bool = False
    crash_at: str = ""  # for tests alone: LABEL:N, where this process kills itself
    dispatch: DispatchSettings = Field(default_factory=DispatchSettings)
    vtns: Mapping[str, VtnSettings] = Field(default_factory=dict)  # by the source that its events are of

    @field_validator("vtns")
    @classmethod
    def _each_is_a_source(cls, vtns: Mapping[str, VtnSettings]) -> Mapping[str, VtnSettings]:
        for name in vtns:
            # What a VTN says of the console would be the word of a person whom nobody sees.
            if name == "console" or not re.fullmatch(r"[a-z0-9-]{1,64}", name):
                raise ValueError(f"vtns.{name[:70]}: expected the name of a grid source, and not console")
        return vtns

    @field_validator("broker_url")
    @classmethod
    def _broker_is_reachable_in_principle(cls, url: str) -> str:
        if url == "embedded" or re.fullmatch(r"mqtts?://([^@/?#\s]+@)?[^@/?#:\s]+(:[0-9]+)?/?", url):
            return _with_usable_port(url)
        raise ValueError("expected 'embedded' or mqtt://host:port or mqtts://host:port")

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, url: str) -> str:
        if url == "" or url.startswith("sqlite:///"):
            return url
        if url.startswith("postgresql://"):
            return _with_usable_port(url)
        raise ValueError("expected sqlite:///path or postgresql://user@host/name")

    @field_validator("state_dir", "programs_dir")
    @classmethod
    def _home_is_expanded(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None

    @field_validator("crash_at")
    @classmethod
    def _crash_label_is_known(cls, text: str) -> str:
        if text:
            CrashPoint.parse(text)
        return text

    @model_validator(mode="after")
    def _production_is_not_killed(self) -> "Settings":
        if self.production and self.crash_at:
            raise ValueError("production is true and crash_at is set: crash_at kills this process on purpose")
        return self

    @model_validator(mode="after")
    def _production_has_a_real_broker(self) -> "Settings":
        if self.production and self.broker_url == "embedded":
            raise ValueError(
                "production is true and broker_url is 'embedded': the embedded broker checks no passwords "
                "and keeps nothing over a crash; set broker_url to mqtts://host:port"
            )
        return self

    @property
    def store_url(self) -> str:
        """Return the database to use: the one set, else SQLite in the state directory."""
        return self.database_url or f"sqlite:///{self.state_dir / 'vpp.sqlite'}"


def _with_usable_port(url: str) -> str:
    named = re.search(r"://(?:.*@)?[^@/?]*:([^@/?:\]]+)(?=[/?]|$)", url)
    if named and not (re.fullmatch(r"[0-9]{1,5}", named[1]) and 1 <= int(named[1]) <= 65535):
        raise ValueError("expected a port from 1 to 65535")
    return url


class _Environment(Settings, BaseSettings):
    """Only tells which variables belong to which setting; it is never made."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True)


def variables() -> frozenset[str]:
    """Return the names of all environment variables that set something."""
    names = set()
    for field, about in Settings.model_fields.items():
        names.add(f"{PREFIX}{field.upper()}")
        nested = about.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            names.update(f"{PREFIX}{field.upper()}__{inner.upper()}" for inner in nested.model_fields)
    return frozenset(names)


def chosen_in_environment(setting: str) -> bool:
    """Return whether a variable names the setting; what is empty there sets nothing."""
    name = f"{PREFIX}{setting}".upper()
    return any(each.upper() == name and value for each, value in os.environ.items())


@dataclass(frozen=True, slots=True)
class _Layer:
    """Values from one origin; ``text`` is the file's content, None for the environment and flags."""

    name: str
    text: str | None
    values: Mapping[str, Any]

    def holds(self, path: Sequence[str]) -> bool:
        node: Any = self.values
        for key in path:
            if not isinstance(node, Mapping) or key not in node:
                return False
            node = node[key]
        return True

    def place(self, path: Sequence[str]) -> str:
        """Return where a key stands, for the beginning of an error message."""
        if self.text is not None:
            return f"{self.name}:{line_of(self.text, path)}"
        if self.name == "environment":
            return PREFIX + "__".join(path).upper()
        return "--" + "-".join(path).replace("_", "-")


_TABLE = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)


def line_of(text: str, path: Sequence[str]) -> int:
    """Return the line of a TOML text on which a key is given, else that of its nearest parent, else 1."""
    table: tuple[str, ...] = ()
    found, deepest = 1, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _TABLE.match(line):
            here = table = _split_key(header[1])
        elif key := _KEY.match(line):
            here = table + _split_key(key[1])
        else:
            continue
        if len(here) > deepest and here == tuple(path[: len(here)]):
            found, deepest = number, len(here)
    return found


def _split_key(dotted: str) -> tuple[str, ...]:
    parts = re.findall(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""", dotted)
    return tuple(part.strip("\"'") for part in parts)


def _text_of(path: Path, remedy: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as failure:
        raise BadSettings(f"{path}: {failure.strerror}; {remedy}") from failure
    except UnicodeDecodeError as failure:
        raise BadSettings(f"{path}: byte {failure.start} is not UTF-8") from failure


def _file_layer(path: Path) -> _Layer:
    text = _text_of(path, "name a readable file with --config")
    try:
        return _Layer(str(path), text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as failure:
        raise BadSettings(f"{path}: {failure}") from failure


def _environment_layer() -> _Layer:
    strange = [
        f"{name}: there is no such setting; {_nearest(name)}"
        for name in sorted(os.environ)
        if name.upper().startswith(PREFIX) and not _sets_something(name.upper())
    ]
    if strange:
        raise BadSettings("\n".join(strange))
    source = EnvSettingsSource(_Environment)
    try:
        return _Layer("environment", None, source())
    except SettingsError as failure:
        raise BadSettings(f"environment: {failure}; tables are given as JSON") from failure


def _sets_something(name: str) -> bool:
    # What stands below a table is judged with the tables of the files, and refused with its place.
    table, nested, _ = name.partition("__")
    return name in NOT_SETTINGS or (table if nested else name) in variables()


def _nearest(name: str) -> str:
    meant = difflib.get_close_matches(name.upper(), sorted(variables()), n=1)
    return f"{meant[0]} is; rename or unset it" if meant else "unset it; config/default.toml lists all"


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        known = merged.get(key)
        nested = isinstance(known, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(known, value) if nested else value  # type: ignore[arg-type]  # nested says so
    return merged


def load_settings(
    *, config_file: Path | None = None, config_dir: Path = CONFIG_DIR, **flags: Any
) -> Settings:
    """Return the settings after all layers were merged and checked.

    Args:
        config_file: Takes the place of ``config/local.toml``; it must exist.
        config_dir: Where ``default.toml`` and ``local.toml`` stand; either may be absent.
        **flags: Values from the command line; None means not given.

    Raises:
        BadSettings: A key or variable is unknown or a value is not usable; one line per problem, with its
            place.
    """
    files = (config_dir / "default.toml", config_file or config_dir / "local.toml")
    layers = [_file_layer(path) for path in files if path == config_file or path.exists()]
    layers.append(_environment_layer())
    layers.append(_Layer("flags", None, {key: value for key, value in flags.items() if value is not None}))
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer.values)
    try:
        return Settings(**merged)
    except ValidationError as failure:
        raise BadSettings("\n".join(_sentences(failure, layers))) from failure


def _sentences(failure: ValidationError, layers: Sequence[_Layer]) -> list[str]:
    sentences = []
    for error in failure.errors():
        path = tuple(str(key) for key in error["loc"])
        origin = next((layer for layer in reversed(layers) if path and layer.holds(path)), None)
        if error["type"] == "extra_forbidden":
            what = f"there is no setting {'.'.join(path)}; config/default.toml lists all"
        else:
            reason = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            what = _what_is_wrong(path, error["input"], reason.removeprefix("expected "))
        sentences.append(f"{origin.place(path)}: {what}" if origin else what)
    return sentences


def _what_is_wrong(path: Sequence[str], value: object, reason: str) -> str:
    if not path or isinstance(value, Mapping):
        return reason  # a rule over several settings names them itself
    if path[-1].endswith("url"):
        return f"{'.'.join(path)} is not usable, expected {reason}"  # a URL may hold a password
    return f"{'.'.join(path)} is {value!r}, expected {reason}"


def load_programs(settings: Settings) -> dict[str, Program]:
    """Return the programs of ``programs_dir`` (``config/programs`` unless set) by program id.

    Raises:
        BadSettings: The directory has no program, a file cannot be used, or two files name one program.
    """
    folder = settings.programs_dir or CONFIG_DIR / "programs"
    programs: dict[str, Program] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            program = read_program(_text_of(path, "make it a readable file"), file_name=str(path))
        except ProgramFileError as failure:
            raise BadSettings(str(failure)) from failure
        if program.program_id in programs:
            raise BadSettings(f"{path}: program {program.program_id} stands in another file of {folder} too")
        programs[program.program_id] = program
    if not programs:
        raise BadSettings(
            f"{folder} holds no program file (*.toml); set VPP_PROGRAMS_DIR to a folder that does"
        )
    return programs
