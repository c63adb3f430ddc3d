"""Settings come in layers, and what is wrong with them is told with its place."""

import tomllib
from pathlib import Path

import pytest

from vpp.settings import (
    CONFIG_DIR,
    PREFIX,
    BadSettings,
    Settings,
    chosen_in_environment,
    line_of,
    load_programs,
    load_settings,
    variables,
)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)


def a_config_dir(folder: Path, *, default: str = "", local: str | None = None) -> Path:
    (folder / "default.toml").write_text(default)
    if local is not None:
        (folder / "local.toml").write_text(local)
    return folder


def complaint(folder: Path) -> list[str]:
    with pytest.raises(BadSettings) as refused:
        load_settings(config_dir=folder)
    return str(refused.value).splitlines()


def test_the_default_file_says_what_the_code_would_do_without_it() -> None:
    written = tomllib.loads((CONFIG_DIR / "default.toml").read_text())

    assert Settings(**written) == Settings()


def test_the_production_example_can_be_used() -> None:
    settings = load_settings(config_file=CONFIG_DIR / "production.example.toml")

    assert settings.production
    assert settings.store_url.startswith("postgresql://")


def test_each_layer_wins_over_the_one_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = a_config_dir(
        tmp_path, default="http_port = 1\n[dispatch]\ntick_s = 11\nramp_s = 12\nspread_s = 13\n"
    )
    assert load_settings(config_dir=folder).http_port == 1

    a_config_dir(tmp_path, default=(tmp_path / "default.toml").read_text(), local="http_port = 2\n")
    assert load_settings(config_dir=folder).http_port == 2

    monkeypatch.setenv("VPP_HTTP_PORT", "3")
    monkeypatch.setenv("VPP_DISPATCH__RAMP_S", "33")
    assert load_settings(config_dir=folder).http_port == 3
    assert load_settings(config_dir=folder, http_port=4).http_port == 4

    dispatch = load_settings(config_dir=folder).dispatch
    assert (dispatch.tick_s, dispatch.ramp_s, dispatch.spread_s) == (11, 33, 13)


def test_a_file_named_by_flag_takes_the_place_of_the_local_one(tmp_path: Path) -> None:
    folder = a_config_dir(tmp_path, local="http_port = 2\n")
    other = tmp_path / "other.toml"
    other.write_text("production = false\n")

    assert load_settings(config_dir=folder, config_file=other).http_port == 8080


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPP_DATABASE_URL", "")
    monkeypatch.setenv("VPP_HTTP_PORT", "8080")

    assert not chosen_in_environment("database_url")
    assert chosen_in_environment("http_port")

    assert load_settings().store_url.startswith("sqlite:///")


def test_an_unknown_key_is_refused_with_file_and_line(tmp_path: Path) -> None:
    folder = a_config_dir(tmp_path, local="# mine\nbroker_ulr = 'mqtt://h:1'\n\n[dispatch]\nlease = 900\n")

    assert complaint(folder) == [
        f"{tmp_path}/local.toml:5: there is no setting dispatch.lease; config/default.toml lists all",
        f"{tmp_path}/local.toml:2: there is no setting broker_ulr; config/default.toml lists all",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("http_port = 'x'", ":1: http_port is 'x', expected a valid integer"),
        ("http_port = 70000", ":1: http_port is 70000, expected less than or equal to 65535"),
        (
            "[dispatch]\nlease_s = 3600",
            ":2: dispatch.lease_s is 3600, expected less than or equal to 1800",
        ),
        ("dispatch.lease_s = 3600", ":1: dispatch.lease_s is 3600"),
        ("[dispatch]\ntick_s = 60\nlease_s = 60", "lease_s 60 is under three ticks of 60 s"),
        (
            "[dispatch.feeder_caps_w]\n'f 1' = 0",
            ":2: dispatch.feeder_caps_w.f 1 is 0, expected greater than 0",
        ),
        (
            "broker_url = 'http://x'",
            ":1: broker_url is not usable, expected 'embedded' or mqtt://host:port",
        ),
        ("broker_url = 'mqtts://u:p@h:0'", ":1: broker_url is not usable, expected a port from 1 to 65535"),
        ("broker_url = 'mqtt://u:secret#@h:1'", ":1: broker_url is not usable, expected 'embedded' or mqtt"),
        ("database_url = 'postgresql://u:secret@h:x/d'", ":1: database_url is not usable, expected a port"),
        (
            "database_url = 'mysql://u:secret@h/d'",
            ":1: database_url is not usable, expected sqlite:///path",
        ),
        ("production = true", "the embedded broker checks no passwords"),
        ("http_port = ", "Invalid value (at end of document)"),
    ],
)
def test_a_bad_value_says_where_it_stands_and_what_is_expected(
    tmp_path: Path, text: str, sentence: str
) -> None:
    (told,) = complaint(a_config_dir(tmp_path, local=text))

    assert sentence in told
    assert "secret" not in told


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:1#2@h/d", "postgresql://u:p@[::1]:5432/d", "postgresql:///d?host=/run", "sqlite:///a:b"],
)
def test_a_database_that_names_no_port_or_a_usable_one_is_taken(tmp_path: Path, url: str) -> None:
    settings = load_settings(config_dir=a_config_dir(tmp_path, local=f"database_url = '{url}'"))

    assert settings.store_url == url


def test_a_bad_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPP_DISPATCH__TICK_S", "fast")

    assert complaint(tmp_path)[0].startswith(
        "VPP_DISPATCH__TICK_S: dispatch.tick_s is 'fast', expected a valid"
    )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("VPP_BROKER_UR", "VPP_BROKER_UR: there is no such setting; VPP_BROKER_URL is; rename or unset it"),
        ("vpp_http_prot", "vpp_http_prot: there is no such setting; VPP_HTTP_PORT is; rename or unset it"),
        ("VPP_DISPATH__LEASE_S", "VPP_DISPATH__LEASE_S: there is no such setting; VPP_DISPATCH__LEASE_S is"),
        ("VPP_DISPATCH__LEAS_S", "VPP_DISPATCH__LEAS_S: there is no setting dispatch.leas_s"),
        ("VPP_XYZ", "VPP_XYZ: there is no such setting; unset it; config/default.toml lists all"),
    ],
)
def test_a_variable_that_sets_nothing_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    monkeypatch.setenv(name, "3")

    (told,) = complaint(tmp_path)

    assert told.startswith(sentence)


def test_variables_of_tests_and_of_other_programs_are_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "VPP_CRASH_AT": "before-ack:3",
        "VPP_BENCH_SITES": "10",
        "VPPX_BROKER_UR": "3",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VPP_DISPATCH__FEEDER_CAPS_W__F1", "5000")

    assert load_settings(config_dir=tmp_path).dispatch.feeder_caps_w == {"f1": 5000}


def test_a_config_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"nowhere.toml: No such file"):
        load_settings(config_file=tmp_path / "nowhere.toml")


def test_every_variable_names_a_setting() -> None:
    assert f"{PREFIX}BROKER_URL" in variables()
    assert f"{PREFIX}DISPATCH__LEASE_S" in variables()


def test_the_line_of_a_key_is_found_in_tables_and_dotted_keys() -> None:
    text = "a = 1\n[b]\nc = 2\n[b.'d e']\nf = 3\n[g]\nh.i = 4\n"

    assert [line_of(text, path) for path in (("a",), ("b", "c"), ("b", "d e", "f"), ("g", "h", "i"))] == [
        1,
        3,
        5,
        7,
    ]
    assert line_of(text, ("b", "missing")) == 2


def test_the_programs_that_come_with_the_product_can_be_read() -> None:
    programs = load_programs(Settings())

    assert "elrp-a4-pge" in programs
    assert all(program_id == program.program_id for program_id, program in programs.items())


def test_a_folder_without_programs_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="set VPP_PROGRAMS_DIR to a folder that does"):
        load_programs(Settings(programs_dir=tmp_path))


VTN = """
[vtns.pge]
url = "{url}"
client_id = "our-vpp"
secret_file = "~/pge.secret"
programs = {{ "249rj49jiej" = "elrp-a4-pge" }}
"""


def test_a_vtn_is_set_by_a_table_of_its_source(tmp_path: Path) -> None:
    file = tmp_path / "vpp.toml"
    file.write_text(VTN.format(url="https://vtn.example.org/openadr3/3.1.0/"))

    vtn = load_settings(config_file=file).vtns["pge"]

    assert (vtn.url, vtn.poll_s) == ("https://vtn.example.org/openadr3/3.1.0", 30)
    assert vtn.programs == {"249rj49jiej": "elrp-a4-pge"}
    assert vtn.secret_file == Path.home() / "pge.secret"


@pytest.mark.parametrize("name", ["console", "Pge", '"p ge"', '"pge/event"'])
def test_a_vtn_is_no_person_here_and_speaks_for_a_source_that_can_be_added(tmp_path: Path, name: str) -> None:
    file = tmp_path / "vpp.toml"
    file.write_text(VTN.format(url="https://vtn.example.org").replace("vtns.pge", f"vtns.{name}"))

    with pytest.raises(BadSettings, match="the name of a grid source, and not console"):
        load_settings(config_file=file)


@pytest.mark.parametrize(
    "url",
    ["http://vtn.example.org", "https://us:secret@vtn.example.org", "https://", "ftp://x", "https://x/?a=b"],
)
def test_a_vtn_over_which_others_could_read_along_is_refused(tmp_path: Path, url: str) -> None:
    file = tmp_path / "vpp.toml"
    file.write_text(VTN.format(url=url))

    with pytest.raises(BadSettings, match=r"vpp.toml:3: .*expected https://host/path") as told:
        load_settings(config_file=file)
    assert "secret@" not in str(told.value)
