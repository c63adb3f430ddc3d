"""One form for every line of the log, and no way to fill it by saying the same nonsense again and again."""

import subprocess
import sys

SAYS = """
import logging
import structlog
from vpp.entrypoints.logs import log_to_stderr

log_to_stderr()
structlog.get_logger().info("listening", url="http://127.0.0.1:8080")
for number in range(5_000):
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("paho").warning("packet %d is odd", number)
logging.getLogger("uvicorn.error").warning("another thing")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("apscheduler").exception("a job failed")
"""


def test_libraries_write_the_same_lines_as_we_do_and_the_same_thing_once_a_second():
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()

    assert done.stdout == ""
    ours, *theirs = lines[:4]
    assert ours.endswith("level='info' event='listening' url='http://127.0.0.1:8080'")
    assert all(each.startswith("timestamp='2") for each in lines)
    assert theirs[0].endswith("level='warning' event='Invalid HTTP request received.' logger='uvicorn.error'")
    assert theirs[1].endswith("level='warning' event='packet 0 is odd' logger='paho'")
    assert sum("Invalid HTTP" in each for each in lines) <= 3, "once a second, however slow the machine"
    assert sum("is odd" in each for each in lines) <= 3
    assert any("another thing" in each for each in lines)
    assert "ZeroDivisionError" in lines[-1], "a failure keeps its traceback, in one line"
