"""The house rules that import contracts cannot see: lengths, layout, dead modules, lint exceptions."""

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP_LEVEL = {"pyproject.toml", "README.md", "vpp", "tests", "simulators", "config"}
FUNCTION_MOST_LINES = 70
FILE_MOST_LINES = 500


def tracked() -> list[Path]:
    names = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard"),
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [ROOT / name for name in names.splitlines() if (ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def product_modules() -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in python_files()
        if path.relative_to(ROOT).parts[0] in ("vpp", "simulators")
        and path.name != "__main__.py"
        and "migrations" not in path.parts
    ]


def test_top_level_holds_only_what_the_layout_names() -> None:
    entries = {path.relative_to(ROOT).parts[0] for path in tracked()}

    assert {entry for entry in entries if not entry.startswith(".")} <= TOP_LEVEL


def test_no_function_is_longer_than_seventy_lines() -> None:
    too_long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} is too long"
        for path in python_files()
        for node in functions(path)
        if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_MOST_LINES
    ]

    assert not too_long


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    too_long = [
        f"{path.relative_to(ROOT)} has {lines} lines"
        for path in python_files()
        if (lines := len(path.read_text().splitlines())) > FILE_MOST_LINES
    ]

    assert not too_long


@pytest.mark.parametrize("module", product_modules())
def test_every_module_can_be_imported(module: str) -> None:
    assert importlib.import_module(module)


def test_no_module_stands_beside_a_package_of_its_name() -> None:
    twice = [path for path in python_files() if path.with_suffix("").is_dir()]

    assert not twice


def test_only_the_runner_catches_everything() -> None:
    broad = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files()
        if path.relative_to(ROOT).parts[0] == "vpp" and path.name != "runner.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"except (Exception|BaseException)\b|except:\s*$", line)
    ]

    assert not broad


def test_every_lint_exception_carries_its_reason() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in python_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"# (noqa|type: ignore)\b", line)
        and not re.search(r"# (noqa: [A-Z0-9, ]+|type: ignore\[[a-z-]+(, ?[a-z-]+)*\])  ?#? ?\w+", line)
    ]

    assert not bare


def test_public_functions_of_the_domain_say_what_they_return() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in (ROOT / "vpp" / "domain").glob("*.py")
        for node in functions(path)
        if not node.name.startswith("_") and ast.get_docstring(node) is None
    ]

    assert not silent
