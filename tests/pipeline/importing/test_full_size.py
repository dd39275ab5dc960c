"""A file as large as the authors' own: 153,352 wavs and five million paths, of which the import holds none.

Contract: reading takes little memory beside that of the names, and minutes; a whole import with so many rows ends as it should.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from pipeline.dataset import distillation_set
from tests.support.large_mat_files import WAVS, WRITERS, logits_of, name_of, set_of
from tests.support.tones import write_tone

pytestmark = pytest.mark.slow

MOST_MB, MOST_S = 150, 300
"""More than before the file is opened; seconds of a core."""

PEAK = """
import pathlib, re, sys, time
def peak_mb():  # ru_maxrss would begin with that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024
"""

IMPORT = f"""{PEAK}
from jobs.import_labels import main
code = main()
print(peak_mb())
sys.exit(code)
"""

READ = f"""{PEAK}
from pipeline.importing.published_logits import published_logits
before, start = peak_mb(), time.process_time()
with published_logits(sys.argv[1]) as found:
    print(peak_mb() - before, time.process_time() - start, len(found.names), found.starts_W[-1])
"""


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=[pytest.mark.endurance] if "7.3" in kind else []) for kind in WRITERS],
)
def large(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "senet50-ferplus-logits.mat"
    WRITERS[request.param](path)
    yield path
    path.unlink()


def test_reading_it_takes_little_memory_and_time(large):
    done = subprocess.run([sys.executable, "-c", READ, str(large)], capture_output=True, text=True, check=True)
    peak_mb, seconds, names, pictures = map(float, done.stdout.split())
    print(f"{large.stat().st_size / 1e6:.0f} MB read in {seconds:.1f} s with {peak_mb:.0f} MB more")
    assert names == WAVS and pictures == sum(len(logits_of(k)) for k in range(WAVS))
    assert peak_mb < MOST_MB and seconds < MOST_S


def test_a_whole_import_of_it(large, tmp_path):
    """With the wavs of some entries, so that the others are rejects: all of them would take 38 GB."""
    some = range(0, WAVS, 3001)
    for number in some:
        write_tone(tmp_path / "wav" / name_of(number), seed=number, seconds=0.24 * len(logits_of(number)))
    words = ["--logits", large, "--speech", tmp_path / "wav", "--out", tmp_path / "labels"]
    done = subprocess.run([sys.executable, "-c", IMPORT, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    *_, line, peak_mb = done.stdout.splitlines()
    answer, peak_gb = json.loads(line), float(peak_mb) / 1024
    print(f"{answer['seconds']} s, {peak_gb:.2f} GB")
    assert (answer["rows"], answer["reasons"]) == (WAVS, {"no_wav": WAVS - len(some)})
    assert peak_gb < 2
    rows = distillation_set.read_columns(str(tmp_path / "labels"), ["utterance_id", "split", "frame_logits"])
    found = {row["utterance_id"]: row for row in rows.to_pylist()}
    for number in some:
        row = found[name_of(number).removesuffix(".wav")]
        assert np.array_equal(np.array(row["frame_logits"], np.float32), logits_of(number))
        assert row["split"] == {1: "train", 2: "unheard", 3: "heard"}[set_of(number)]
