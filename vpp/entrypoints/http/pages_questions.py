"""The staff's page of what owners ask about their money: what waits, and a form to answer each."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from vpp.entrypoints.http.pages_operator import csv_file, with_local
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import Answerer, AtDesk, CheckedForm, Form, Visitor, front_of
from vpp.entrypoints.operations import disputes, staff_reads
from vpp.entrypoints.operations.desk import Desk, OperationRefused

PAGE_QUESTIONS = 50
WHY = "to answer the question"  # the owner sees it beside the reader's name
QUESTIONS = ("owner_id", "period", "kind", "at", "at_local", "actor", "text")
FIELDS = ("owner_id", "period", "text", "correct")
NOTHING: Mapping[str, str] = {}

router = APIRouter(prefix="/operator")


@router.get("/questions")
async def questions_page(request: Request, visitor: Answerer, desk: AtDesk, cursor: str = "") -> Response:
    """Show the questions that wait for an answer, each with what was said before."""
    return await _questions(request, visitor, desk, cursor=cursor)


async def _questions(
    request: Request,
    visitor: Visitor,
    desk: Desk,
    status: HTTPStatus = HTTPStatus.OK,
    *,
    cursor: str = "",
    fault: str = "",
    form: Form = NOTHING,
) -> Response:
    found: Any = await staff_reads.read_disputes(
        desk, actor=visitor.actor, reason=WHY, waiting=True, cursor=cursor, limit=PAGE_QUESTIONS
    )
    about = {each["period"]: await desk.store.history(each["period"]) for each in found["disputes"]}
    names = {period: history.latest.name for period, history in about.items() if history is not None}
    typed = {name: form.get(name, "") for name in FIELDS}
    of_form = (typed["owner_id"], typed["period"])
    shown = any((each["owner_id"], each["period"]) == of_form for each in found["disputes"])
    return show(
        request, "operator_questions.html", status, visitor=visitor, questions=found["disputes"], names=names,
        zone=desk.staff_zone, cursor=cursor, next=found["next_cursor"], fault=fault, form=typed, shown=shown,
        saved=request.query_params.get("saved", ""),
    )  # fmt: skip


@router.post("/questions/answer")
async def answer(request: Request, visitor: Answerer, desk: AtDesk, form: CheckedForm) -> Response:
    """Answer an owner, whose page shows it at once; what was typed stays where it is refused."""
    owner_id, period = form.get("owner_id", ""), form.get("period", "")
    text = form.get("text", "").replace("\r\n", "\n")
    known = next(
        (each for each in await disputes.own_disputes(desk, owner_id) if each["period"] == period), None
    )
    if known is not None and known["state"] != "open":
        words: Any = known["words"]
        if words[-1]["text"] != text:  # else it is a resend of the answer that stands
            fault = f"{words[-1]['actor']} answered this question meanwhile. Nothing was sent."
            return await _questions(request, visitor, desk, HTTPStatus.CONFLICT, fault=fault, form=form)
        return RedirectResponse("/operator/questions?saved=answered", HTTPStatus.SEE_OTHER)
    try:
        await disputes.answer_dispute(
            desk, owner_id=owner_id, period=period, text=text, actor=visitor.actor,
            correct=form.get("correct") == "yes",
        )  # fmt: skip
    except OperationRefused as refused:
        fault = f"{refused.detail}. Nothing was sent."
        return await _questions(request, visitor, desk, refused.status, fault=fault, form=form)
    front_of(request).questions.forget()
    return RedirectResponse("/operator/questions?saved=answered", HTTPStatus.SEE_OTHER)


@router.get("/questions.csv")
async def questions_file(visitor: Answerer, desk: AtDesk) -> Response:
    """Return every word of the questions that wait, question by question."""
    found: Any = await staff_reads.read_disputes(desk, actor=visitor.actor, reason=WHY, waiting=True)
    rows = [
        with_local({"owner_id": each["owner_id"], "period": each["period"]} | word, desk.staff_zone, ("at",))
        for each in found["disputes"]
        for word in each["words"]
    ]
    return csv_file("questions.csv", QUESTIONS, rows)
