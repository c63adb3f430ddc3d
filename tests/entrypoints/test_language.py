"""What owners read: every sentence in both languages, and nothing that nobody says."""

import re
from pathlib import Path

import pytest

import vpp.entrypoints as entrypoints
from vpp.domain.baseline import DayDropped
from vpp.domain.dispatch_plan import Reason
from vpp.domain.hour_reason import HourFault
from vpp.domain.settlement import SettlementReason
from vpp.entrypoints.http.pages_questions import WHY
from vpp.entrypoints.language import DONE, OURS, Language, preferred, sentences
from vpp.entrypoints.operations.staff_reads import ON_THE_COMMAND_LINE

ENGLISH, SPANISH = sentences("en"), sentences("es")
HERE = Path(entrypoints.__file__).parent
# Keys that are put together from a word of ours; the word's own list is checked below or on its page.
BUILT = (
    "why.",
    "dropped.",
    "dates.",
    "home.saved_",
    "events.payout_",
    "events.final",
    "events.corrected",
    "statement.quality_",
    "messages.",
    "now.",
    "done.",
    "reason.",
    "forget.stays_",
    "forget.count_",
    "login.wrong",
    "login.too_many_wrong",
    "ask.answered",
    "ask.corrected",
    "data.given",
    "data.joined",
    "data.left",
    "because.",
    "counts.",
    "period.",
)


def braces(sentence: str) -> list[str]:
    return sorted(set(re.findall(r"\{(\w+)\}", sentence)))


def test_every_sentence_stands_in_both_languages_with_the_same_blanks() -> None:
    assert set(ENGLISH) == set(SPANISH)
    assert [key for key in ENGLISH if braces(ENGLISH[key]) != braces(SPANISH[key])] == []


def test_no_sentence_was_left_untranslated() -> None:
    same = {key for key in ENGLISH if ENGLISH[key] == SPANISH[key]}

    assert {key for key in same if len(ENGLISH[key].split()) > 2 and "{" not in ENGLISH[key]} == set()


def test_every_sentence_that_a_page_says_is_there_and_none_is_left_over() -> None:
    pages = [*HERE.glob("http/templates/owner_*.html"), *HERE.glob("http/*owner*.py"), HERE / "language.py"]
    pages += [*HERE.glob("operations/own*.py")]
    pages += [HERE / "http" / name for name in ("pages_faults.py", "visitor.py", "login.py")]
    pages += [HERE / "http/templates" / name for name in ("base.html", "login.html", "message.html")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    said = set(re.findall(r"""["']([a-z]+\.[a-z_]+(?:\.one|\.many)?)["']""", text))
    said |= {f"fault.{key}" for key in re.findall(r'"((?:no_home|no_event))"', text)}
    counted = set(re.findall(r't\.counted\("([a-z._]+)"', text))
    said = (said - counted) | {f"{key}.{end}" for key in counted for end in ("one", "many")}

    known = {key for key in said if key.split(".")[0] in {each.split(".")[0] for each in ENGLISH}}
    assert {key for key in known if key not in ENGLISH and not key.endswith((".html", ".csv", "_"))} == set()
    assert {key for key in ENGLISH if key not in said and not key.startswith(BUILT)} == set()


@pytest.mark.parametrize("words", [Reason, SettlementReason])
def test_every_reason_is_said_in_the_owners_words(words: type[Reason] | type[SettlementReason]) -> None:
    assert {word.value for word in words} <= {key.removeprefix("why.") for key in ENGLISH}


def test_every_day_that_was_passed_over_has_its_reason_in_words() -> None:
    assert {word.value for word in DayDropped} <= {key.removeprefix("dropped.") for key in ENGLISH}


def test_times_are_local_and_carry_utc_in_either_language() -> None:
    said = {
        code: Language(code).moment("2026-09-10T01:00:00Z", "America/Los_Angeles") for code in ("en", "es")
    }

    assert said["en"].striptags() == "Wed Sep 9, 6:00 PM PDT"
    assert said["es"].striptags() == "mié 9 sep, 6:00 p. m. PDT"
    assert 'datetime="2026-09-10T01:00:00Z"' in said["es"]


def test_what_fills_a_sentence_is_text_and_never_markup() -> None:
    assert "&lt;b&gt;" in Language("en")("fault.reserve", typed="<b>")


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("es-MX,es;q=0.9,en;q=0.8", "es"), ("fr,es;q=0.5", "es"), ("en-US", "en"), ("fr", "en"), ("", "en")],
)
def test_the_browsers_language_is_taken_where_it_is_one_of_ours(accepted: str, language: str) -> None:
    assert preferred(accepted) == language


def test_every_sentence_of_what_was_done_is_said_and_what_is_unknown_stays_as_it_is() -> None:
    spanish = Language("es")

    assert {f"reason.{key}" for key in OURS.values()} == {key for key in ENGLISH if key.startswith("reason.")}
    assert {WHY, ON_THE_COMMAND_LINE} == set(OURS)
    assert {f"done.{key}" for key in DONE.values()} == {key for key in ENGLISH if key.startswith("done.")}
    assert spanish.done("read home s-001") == "leyó sobre su casa s-001"
    assert spanish.done("read home page") == "leyó su primera página"
    assert spanish.done("<b>") == "&lt;b&gt;"


@pytest.mark.parametrize("code", ["en", "es"])
@pytest.mark.parametrize("fault", list(HourFault))
@pytest.mark.parametrize("ends", [("2026-09-10T01:00:00Z", "2026-09-10T02:30:00Z"), (None, None)])
def test_every_reason_of_an_hour_is_told_with_local_times(
    code: str, fault: HourFault, ends: tuple[str | None, str | None]
) -> None:
    since, until = ends
    told = [
        Language(code).because({"fault": fault, "from_at": a, "until_at": b}, "America/Los_Angeles")
        for a, b in ((since, until), (since, None), (None, until))
    ]

    assert ("6:00" in told[0]) is (since is not None)
    assert all("{" not in each for each in told)
