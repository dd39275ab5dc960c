"""What people read of a job: our lines from INFO on, whichever module writes them, and of libraries only the warnings."""

import logging
import re
import subprocess
import sys
from pathlib import Path

from cluster.logs import PACKAGES

ROOT = Path(__file__).parents[2]
PROGRAM = """
import logging
from cluster.logs import show_logs
show_logs()
for name in ("cluster.lease", "pipeline.labelling.run", "jobs.label", "__main__", "some_library"):
    logging.getLogger(name).info("info of %s", name)
    logging.getLogger(name).debug("debug of %s", name)
logging.getLogger("some_library").warning("warning of a library")
"""


def test_our_lines_are_shown_from_info_on_and_those_of_libraries_from_warning_on():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    said = [line.partition(" ")[2] for line in lines]
    ours = ["cluster.lease", "pipeline.labelling.run", "jobs.label", "__main__"]
    assert said == [f"info of {name}" for name in ours] + ["warning of a library"]


def test_every_logger_is_named_after_its_module_or_its_lines_would_not_be_shown():
    for package in PACKAGES[:4]:
        for path in (ROOT / package).rglob("*.py"):
            own = re.findall(r"^\w+ = logging\.getLogger\((.*)\)", path.read_text(), re.MULTILINE)
            assert set(own) <= {"__name__"}, f"{path}: {own}"


def test_what_a_worker_logs_is_sent_and_logged_as_received(caplog):
    from cluster.logs import log_as_received, send_logs_to

    sent = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sent.append(record)

    handler = Keep()
    levels = {name: logging.getLogger(name).level for name in PACKAGES}
    send_logs_to(handler)
    try:
        logging.getLogger("pipeline.distillation.run").info("epoch %d", 3)
    finally:
        for name, level in levels.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(level)
    [record] = sent
    caplog.clear()
    log_as_received(record)
    assert caplog.record_tuples == [("pipeline.distillation.run", logging.INFO, "epoch 3")]
