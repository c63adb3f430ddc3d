"""Where in a JSON file something stands that cannot be used, so that whoever wrote it finds the line."""

import json
import re
from collections.abc import Sequence

_SPACE = re.compile(r"[ \t\r\n]*")
_PATH = re.compile(r"[a-z_]+(?:\[[0-9]+\]|\.[a-z_]+)*")
_STEP = re.compile(r"[a-z_]+|[0-9]+")
_DECODER = json.JSONDecoder()

Path = Sequence[str | int]


def path_in(reason: str) -> Path:
    """Return the path with which a reason begins, such as ``versions[1].status``."""
    found = _PATH.match(reason)
    steps = _STEP.findall(found[0]) if found else []
    return [int(step) if step.isdecimal() else step for step in steps]


def line_of(content: bytes, path: Path) -> int:
    """Return the line, from 1 on, of the value at a path, or of the innermost one around it that is there.

    Of what is no JSON at all the line where it ceases to be.
    """
    text = content.decode("utf-8", errors="replace")
    try:
        _DECODER.decode(text)
    except json.JSONDecodeError as failure:
        return failure.lineno
    except RecursionError:
        return 1
    at = _after_space(text, 0)
    for step in path:
        inner = _inside(text, at, step)
        if inner is None:
            break
        at = inner
    return text.count("\n", 0, at) + 1


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _inside(text: str, at: int, step: str | int) -> int | None:
    """Return where a member or an element begins of the object or list that begins at a place."""
    opening, place = text[at], 0
    if opening not in "{[" or isinstance(step, str) != (opening == "{"):
        return None
    at = _after_space(text, at + 1)
    while text[at] not in "}]":
        key: str | int = place
        if opening == "{":
            key, at = _DECODER.raw_decode(text, at)
            at = _after_space(text, _after_space(text, at) + 1)  # past the colon
        if key == step:
            return at
        _, at = _DECODER.raw_decode(text, at)
        at = _after_space(text, at)
        at = _after_space(text, at + 1) if text[at] == "," else at
        place += 1
    return None
