"""Everything that the README's lines install is pinned, what comes along included."""

import tomllib
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def pinned() -> dict[str, str]:
    lines = (ROOT / "config" / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): release for name, release in pairs}


def installed() -> dict[str, str]:
    """Return the packages that ours need, by way of those that they need, with their releases here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    waiting, found = [Requirement(each) for each in asked], {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        found[name] = version(name)
        for each in map(Requirement, requires(name) or ()):
            marker = each.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                waiting.append(each)
    return found


def test_every_package_that_is_installed_has_its_release_in_the_constraints() -> None:
    here, fixed = installed(), pinned()

    assert len(here) > 80
    assert {name: release for name, release in here.items() if fixed.get(name) != release} == {}
