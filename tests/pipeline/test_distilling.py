"""Distillation as users run it: stopped and started again it gives the same student; two workers reach the end."""

import dataclasses

import pytest
import torch

from modeling.emotions import EMOTIONS
from modeling.recipes import smoke
from modeling.student_checkpoint import load_student
from pipeline.distillation_set import write_part
from pipeline.distilling import DistillRun, distill
from tests.pipeline.label_rows import label_table, labelled_row


@pytest.fixture
def labels(tmp_path):
    rows = [labelled_row(f"s{n % 5}/{n}", EMOTIONS[n % 3]) for n in range(20)]
    for part in (rows[:7], rows[7:]):
        write_part(str(tmp_path / "labels"), label_table(part))
    (tmp_path / "labels" / "identity.json").write_text('{"teacher": "compact@0"}')
    return str(tmp_path / "labels")


def weights(result: dict) -> dict[str, torch.Tensor]:
    return load_student(result["checkpoint"]).state_dict()


class Stop(Exception):
    pass


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_student(ray_session, labels, tmp_path, monkeypatch):
    recipe = dataclasses.replace(smoke(), epochs=4, part_per_epoch=0.7)  # epochs that end within a pass
    whole = distill(DistillRun(labels_uri=labels, student_uri=str(tmp_path / "whole"), recipe=recipe), None)
    run = DistillRun(labels_uri=labels, student_uri=str(tmp_path / "stopped"), recipe=recipe)
    from pipeline import training_home

    save = training_home.OutputFolder.save

    def save_twice(self, files, metrics):
        save(self, files, metrics)
        if metrics["epoch"] == 2:
            raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(training_home.OutputFolder, "save", save_twice)
        distill(run, None)
    resumed = distill(run, None)
    assert [epoch["epoch"] for epoch in resumed["curve"]] == [1, 2, 3, 4]
    assert resumed["steps"] == whole["steps"]
    assert all(torch.equal(weights(resumed)[name], tensor) for name, tensor in weights(whole).items())


@pytest.mark.slow
def test_two_workers_train_to_the_end(ray_session, labels, tmp_path):
    run = DistillRun(labels_uri=labels, student_uri=str(tmp_path / "student"), recipe=smoke(), workers=2)
    result = distill(run, None)
    assert result["steps"] == 2 * run.recipe.steps_per_epoch(20)
    assert [epoch["epoch"] for epoch in result["curve"]] == [1, 2]
    assert load_student(result["checkpoint"]).predict(torch.zeros(32_000), 16_000).sum().item() == pytest.approx(1)
