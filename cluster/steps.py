"""Announces the steps of a job that has several, each with the time that is left in all."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from cluster.run_record import RunRecord

PRIOR_S = 40
"""Weight of the expected seconds against the measured ones, so that a slow first second does not inflate the estimate."""

log = logging.getLogger(__name__)


class Steps:
    """Announces each step: what it does and the time left, scaled by this machine's speed so far.

    steps: name -> what it does, and its expected seconds.
    """

    def __init__(self, record: RunRecord, steps: Mapping[str, tuple[str, float]]):
        self.record, self.steps = record, steps
        self.started = time.perf_counter()

    def run(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        names = list(self.steps)
        position = names.index(name)
        done = sum(self.steps[step][1] for step in names[:position])
        pace = (time.perf_counter() - self.started + PRIOR_S) / (done + PRIOR_S)
        left = pace * sum(self.steps[step][1] for step in names[position:])
        log.info("[%d/%d] %s: %s (about %.0f s left in all)", position + 1, len(names), name, self.steps[name][0], left)
        with self.record.stage(name):
            return work()
