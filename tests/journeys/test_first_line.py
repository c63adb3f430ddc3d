"""The README's first line, word for word, in a folder that holds nothing but the product."""

import json
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINE = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.endswith("vpp demo"))
NOT_CLONED = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "*.egg-info", ".hypothesis")


def test_first_line_installs_all_it_needs_and_pays_owners(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=NOT_CLONED)
    bare = {name: text for name, text in os.environ.items() if not name.startswith(("VPP_", "PYTHON"))}

    ran = subprocess.run(
        ["bash", "-c", f"{LINE} --exit --json"],
        cwd=clone,
        env=bare | {"VPP_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr[-2_000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert (found["ledger_balanced"], found["reserve_violations"]) == (True, 0)
    assert found["delivered_wh"] * 100 >= found["requested_wh"] * 97
    assert float(found["paid_usd"]) > 0
