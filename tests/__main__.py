"""The one gate: format, lint, types, import contracts, then every test. Nothing may be skipped.

``python -m tests`` runs all of it, two files at a time, since most of them wait for servers and browsers;
arguments after it go to pytest (``python -m tests -k reserve``).
Servers that the tests start (mosquitto) and the browser come from Debian: as root they are installed
when missing, otherwise the line to type is printed and the gate fails.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PROGRAMS = {"chromium": "chromium", "mosquitto": "mosquitto", "mosquitto_pub": "mosquitto-clients"}
CHECKS = (
    ("format", ("ruff", "format", "--check", "--quiet", ".")),
    ("lint", ("ruff", "check", "--quiet", ".")),
    ("types", ("mypy",)),
    ("imports", ("lint-imports", "--no-cache")),
)
# A file stays with one process, which makes its servers once; files start in the order of their names.
TWO_AT_A_TIME = ("--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder")


def install_programs() -> bool:
    """Return whether every server the tests need is on this machine, installing what root may."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    os.environ["PATH"] = path
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if not missing:
        return True
    line = f"apt-get update && apt-get install -y {' '.join(missing)}"
    if os.geteuid() != 0:
        sys.stderr.write(f"the tests need {', '.join(missing)}; as root type: {line}\n")
        return False
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (("apt-get", "update", "-q"), ("apt-get", "install", "-y", "-q", *missing)):
        if subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, check=False).returncode:
            sys.stderr.write(f"could not install {', '.join(missing)}; type: {line}\n")
            return False
    return True


def run_checks() -> bool:
    """Return whether format, lint, types and import contracts all hold."""
    good = True
    for name, (program, *arguments) in CHECKS:
        done = subprocess.run(
            (BIN / program, *arguments), cwd=ROOT, capture_output=True, text=True, check=False
        )
        sys.stdout.write(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'}\n")
        if done.returncode:
            sys.stdout.write(done.stdout + done.stderr)
            good = False
    sys.stdout.flush()
    return good


def main() -> int:
    """Run the gate and return its exit code."""
    if not install_programs() or not run_checks():
        return 1
    return subprocess.run(
        (sys.executable, "-m", "pytest", "-q", *TWO_AT_A_TIME, *sys.argv[1:]), cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
