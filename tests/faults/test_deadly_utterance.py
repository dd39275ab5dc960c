"""Contract: an utterance that kills its worker each time costs itself alone. Ray would start the worker again for ever."""

import functools
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.tally import MAX_DEATHS
from pipeline.labelling.cropper import FaceCropper
from pipeline.labelling.labeller import TeacherLabeller
from tests.support.labelling_runs import labelled_by, manifest_of, read_rows, run_of


class DeadlyCropper(FaceCropper):
    """Its process ends as the kernel ends one that takes too much memory, whenever it comes to one utterance."""

    def _face_columns(self, row: dict, decoded) -> dict:
        if row["utterance_id"].startswith("deadly"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._face_columns(row, decoded)


@pytest.mark.slow
def test_an_utterance_that_kills_its_worker_becomes_a_reject(ray_session, data_dir, tmp_path):
    clip = data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4"
    files = {name: str(tmp_path / f"{name}.mp4") for name in ("before", "deadly", "then", "last")}
    for path in files.values():
        shutil.copy(clip, path)
    run = replace(run_of(manifest_of(files), tmp_path / "labels"), cropper=DeadlyCropper)
    assert labelled_by(run) == {"rows": 4, "labelled": 3, "rejected": 1, "reasons": {"worker_died": 1}}
    [dead] = [row for row in read_rows(run) if row["reject_reason"]]
    assert dead["utterance_id"] == "deadly#0" and "3 worker processes" in dead["reject_detail"]


class DeadlyTeacher(TeacherLabeller):
    """Its process ends when it comes to a part, oftener than an utterance may kill its worker; then it works."""

    def __init__(self, *arguments, deaths: Path, **named):
        super().__init__(*arguments, **named)
        self.deaths = deaths

    def __call__(self, cropped):
        if len(list(self.deaths.iterdir())) <= MAX_DEATHS:
            (self.deaths / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(cropped)


@pytest.mark.slow
def test_a_teacher_that_dies_in_its_worker_costs_no_utterance(ray_session, data_dir, tmp_path):
    """The teacher works when all utterances of a part have been put down: none of them is to blame."""
    clip = str(data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4")
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    run = replace(
        run_of(manifest_of({"a": clip, "b": clip}), tmp_path / "labels"),
        labeller=functools.partial(DeadlyTeacher, deaths=deaths),
    )
    assert labelled_by(run) == {"rows": 2, "labelled": 2, "rejected": 0, "reasons": {}}
    assert len(list(deaths.iterdir())) == MAX_DEATHS + 1
