"""The JSON files of a bundle: a fault has its line, and no byte of a signed manifest changes unseen."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire.test_evidence import a_signed_bundle
from vpp.wire.evidence import read_event
from vpp.wire.evidence_check import _manifest_differences, verify_bundle
from vpp.wire.evidence_help import EXAMPLE, MANIFEST, formats
from vpp.wire.json_place import line_of
from vpp.wire.table import BadFile


@pytest.mark.parametrize(
    ("was", "now", "fault"),
    [
        ('"status": "cancelled"', '"status": "maybe"', "event.json:6: versions[1].status is not"),
        (
            '"effective_at": "2026-09-10T02:37:00Z"',
            '"effective_at": 5',
            "event.json:6: versions[1].effective_at",
        ),
        ('"effective_at": "2026-09-10T02:37:00Z", ', "", "event.json:6: versions[1].effective_at"),
        ('"2026-09-10T04:00:00Z"', '"late"', "event.json:5: versions[0].intervals[0].ends_at"),
        ('"2026-09-10T04:00:00Z"', '"2026-09-10T01:00:00Z"', "event.json:4: versions[0].intervals[0] ends"),
        ('"ev-2026-09-09-1"', "[1, {}]", "event.json:1: event_id is not"),
        ('"America/Los_Angeles"', '""', "event.json:2: time_zone is not"),
        ('"intervals": []}', '"intervals": [}', "event.json:7: not JSON"),
        ('"intervals": []}', '"intervals": 3}', "event.json:7: versions[1].intervals is not a list"),
        ('"event_id": "ev-2026-09-09-1", ', "", "event.json:1: event_id is not"),
    ],
)
def test_what_is_wrong_in_an_event_file_is_named_with_its_line(was: str, now: str, fault: str):
    text = EXAMPLE["event.json"]
    assert was in text

    with pytest.raises(BadFile) as refused:
        read_event(text.replace(was, now, 1).encode())

    assert refused.value.faults[0].startswith(fault)


@given(content=st.binary(max_size=60), path=st.lists(st.integers(0, 3) | st.sampled_from("ab"), max_size=4))
@example(content=b'{"a": [1, {"b": 2}]}', path=["a", 1, "b"])
@example(content=b"[" * 100_000, path=[0])
def test_any_content_has_a_line(content: bytes, path: list[int | str]):
    assert 1 <= line_of(content, path) <= content.count(b"\n") + 1


def test_no_byte_of_a_signed_manifest_changes_unseen():
    files = a_signed_bundle()
    manifest = files["manifest.json"]
    assert verify_bundle(files).agrees

    for place in range(len(manifest)):
        other = b"\t" if manifest[place : place + 1].isspace() else bytes([manifest[place] ^ 1])
        files["manifest.json"] = manifest[:place] + other + manifest[place + 1 :]
        assert list(_manifest_differences(files)), f"byte {place}"
    for grown in (manifest + b"\n", b" " + manifest, manifest.replace(b"\n", b"\r\n")):
        files["manifest.json"] = grown
        assert not verify_bundle(files).agrees


def test_the_manifest_that_people_are_shown_has_the_fields_and_the_layout_of_one_that_is_written():
    written = json.loads(a_signed_bundle()["manifest.json"])

    shown = json.loads(MANIFEST)

    assert shown.keys() == written.keys()
    assert json.dumps(shown, indent=1, sort_keys=True) + "\n" == MANIFEST
    assert all(len(digest) == 64 for digest in shown["files"].values())
    assert MANIFEST.rstrip() in formats()
