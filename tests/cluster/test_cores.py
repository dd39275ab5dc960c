"""A process that may use some of the machine's cores starts no more workers than these, and says so in its record."""

import os
import subprocess
import sys

from cluster.cores import local_cores

SCRIPT = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from cluster.run_record import RunRecord
from jobs.label import Label
from pipeline.labelling.placement import LabelPlan
from cluster.cores import local_cores
[stage] = LabelPlan().stages(local_cores())
print(stage.workers, RunRecord("label", Label(manifest="m", out="o")).as_dict()["machine"]["cpus"])
"""


def test_a_cpu_set_is_respected():
    assert 1 <= local_cores() <= len(os.sched_getaffinity(0))
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
