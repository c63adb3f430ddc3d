"""How notices are worded: in both languages, with every blank filled, and naming no home."""

import re
from datetime import UTC, datetime

import pytest

from vpp.domain.notice import Notice, NoticeKind
from vpp.wire.notice_text import TEXTS, word_notice

AT = datetime(2026, 9, 10, 1, tzinfo=UTC)
FACTS = {
    "starts_at": "2026-09-10T01:00:00Z",
    "ends_at": "2026-09-10T03:00:00Z",
    "zone": "America/Los_Angeles",
    "reserve_pct": "20",
    "counted_kwh": "9.00",
    "amount_usd": "18.00",
    "used": "yes",
    "missing_kw": "40.0",
    "asked_kw": "100.0",
    "needs": "approval",
    "count": "2",
    "source": "caiso",
    "reason": "not_your_event",
    "asked_at": "2026-09-08T01:00:00Z",
    "actor": "staff:ben",
    "asked_mw": "50",
    "limit_mw": "1",
    "raised_at": "2026-09-10T01:00:00Z",
}


def a_notice(kind: NoticeKind, **facts: str) -> Notice:
    return Notice("key", "o-1", kind, "hot-1", AT, FACTS | facts)


def test_every_text_stands_in_both_languages_with_the_same_blanks() -> None:
    assert set(TEXTS["en"]) == set(TEXTS["es"])
    for key, texts in TEXTS["en"].items():
        for english, spanish in zip(texts, TEXTS["es"][key], strict=True):
            assert set(re.findall(r"{(\w+)}", english)) == set(re.findall(r"{(\w+)}", spanish)), key


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("kind", list(NoticeKind))
def test_every_kind_is_worded_with_every_blank_filled(kind: NoticeKind, language: str) -> None:
    title, text = word_notice(a_notice(kind), language)

    assert title
    assert text
    assert "{" not in title + text
    assert "o-1" not in title + text


def test_a_test_says_so_first_and_what_is_not_final_says_so_too() -> None:
    assert word_notice(a_notice(NoticeKind.SCHEDULED, test="yes"), "en")[0].startswith("TEST, never paid")
    assert "not final" in word_notice(a_notice(NoticeKind.ENDED), "en")[1]
    assert "not final" not in word_notice(a_notice(NoticeKind.ENDED, final="yes"), "en")[1]


def test_times_are_those_of_the_owners_clock() -> None:
    assert word_notice(a_notice(NoticeKind.STARTING), "en")[0] == "Battery event starts at 6:00 PM PDT"
    assert word_notice(a_notice(NoticeKind.STARTING), "es")[0] == (
        "El evento de batería empieza a las 6:00 p. m. PDT"
    )


@pytest.mark.parametrize(("language", "may"), [("en", "may help"), ("es", "puede ayudar")])
@pytest.mark.parametrize("kind", [NoticeKind.SCHEDULED, NoticeKind.STARTING])
def test_what_no_plan_has_decided_yet_is_not_promised(kind: NoticeKind, language: str, may: str) -> None:
    assert may in word_notice(a_notice(kind), language)[1]


def test_an_alarm_says_how_to_answer_it() -> None:
    assert "vpp alarm answer key-1" in word_notice(a_notice(NoticeKind.SHORTFALL, alarm="key-1"), "en")[1]


def test_power_from_a_thousand_kilowatts_on_is_told_in_megawatts() -> None:
    title, text = word_notice(a_notice(NoticeKind.SHORTFALL, missing_kw="98822.1", asked_kw="100000.0"), "en")

    assert title == "Shortfall of 98.8 MW in hot-1"
    assert "asks 100.0 MW and lacks 98.8 MW" in text
    assert word_notice(a_notice(NoticeKind.SHORTFALL), "es")[0] == "Faltan 40.0 kW en hot-1"
