"""Distillation as users run it: stopped and started again it gives the same student, with any number of workers."""

import dataclasses
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cluster.failures import UserError
from modeling.distillation.recipes import StudentRecipe, compact, smoke
from modeling.emotions import EMOTIONS
from modeling.students.checkpoint import load_student
from pipeline.dataset.distillation_set import write_part
from pipeline.distillation import batches
from pipeline.distillation.batches import LabelIndex
from pipeline.distillation.run import DistillRun, best_epoch, distill_student, require_shares
from pipeline.distillation.validation import LARGEST, ValidationSet
from pipeline.training.context import LocalContext
from tests.support.label_rows import label_table, labelled_row


def write_labels(folder: Path, rows: list[dict], parts: int = 4) -> str:
    for part in range(parts):
        write_part(str(folder), label_table(rows[part::parts]))
    (folder / "identity.json").write_text('{"teacher": "compact@0"}')
    return str(folder)


@pytest.fixture
def labels(tmp_path):
    rows = [labelled_row(f"s{n % 5}/{n}", EMOTIONS[n % 3], seconds=1.5) for n in range(20)]
    rows += [labelled_row(f"v{n % 3}/{n}", EMOTIONS[n % 2], "val", seconds=1.5) for n in range(12)]
    return write_labels(tmp_path / "labels", rows)


def weights(file: str) -> dict[str, torch.Tensor]:
    return load_student(file).state_dict()


def same(one: str, other: str) -> bool:
    theirs = weights(other)
    return all(torch.equal(tensor, theirs[name]) for name, tensor in weights(one).items())


class Stop(Exception):
    pass


def stopped_after(run: DistillRun, epoch: int, monkeypatch) -> None:
    """Runs until the state of an epoch is saved, as a killed process does."""
    save = LocalContext.save

    def save_and_stop(self, files, metrics):
        save(self, files, metrics)
        if metrics["epoch"] == epoch:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(LocalContext, "save", save_and_stop)
        with pytest.raises(Stop):
            distill_student(run)


def test_a_set_that_has_grown_or_changed_meanwhile_is_refused(labels, tmp_path, monkeypatch, caplog):
    run = DistillRun(labels_uri=labels, student_uri=str(tmp_path / "s"), recipe=dataclasses.replace(smoke(), epochs=2))
    stopped_after(run, 1, monkeypatch)
    assert "its labelling has not ended" in caplog.text
    write_part(labels, label_table([labelled_row("s9/new", seconds=1.5)]))
    with pytest.raises(UserError, match="utterances was '20 of train and 12 of val, .*', now '21 of train"):
        distill_student(run)


def test_a_set_with_an_utterance_in_two_parts_is_refused(labels):
    write_part(labels, label_table([labelled_row("s0/0", EMOTIONS[0], seconds=1.5)]))
    with pytest.raises(UserError, match="1 labelled utterances are in it twice.*label` command again"):
        LabelIndex(labels)


def test_memory_for_speech_changes_no_student_and_too_little_is_told(labels, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(batches, "BLOCK_UTTERANCES", 6)
    run = DistillRun(labels_uri=labels, student_uri=str(tmp_path / "kept"), recipe=smoke())
    anew = dataclasses.replace(run, student_uri=str(tmp_path / "anew"), speech_memory_gib=0.0)
    with caplog.at_level(logging.INFO, "pipeline"):
        kept = distill_student(run).checkpoint
        assert "--speech-memory-gib" not in caplog.text
        assert same(kept, distill_student(anew).checkpoint)
    assert "each worker keeps 0 GiB of it" in caplog.text and "--speech-memory-gib" in caplog.text


@pytest.mark.parametrize("block", [1000, 6], ids=["in memory", "streamed"])
def test_a_run_that_was_stopped_goes_on_to_the_same_student(labels, tmp_path, monkeypatch, block):
    monkeypatch.setattr(batches, "BLOCK_UTTERANCES", block)
    recipe = dataclasses.replace(smoke(), epochs=4, fraction_per_epoch=0.7)  # epochs that end within a pass
    run = DistillRun(labels_uri=labels, student_uri=str(tmp_path / "stopped"), recipe=recipe)
    whole = distill_student(dataclasses.replace(run, student_uri=str(tmp_path / "whole")))
    stopped_after(run, 2, monkeypatch)
    resumed = distill_student(run)
    assert [epoch["epoch"] for epoch in resumed.history] == [1, 2, 3, 4]
    assert resumed.steps == whole.steps
    assert resumed.val_mean_auc == whole.val_mean_auc and resumed.best_epoch == whole.best_epoch
    assert same(resumed.checkpoint, whole.checkpoint)
    assert same(resumed.best_checkpoint, whole.best_checkpoint)
    events = EventAccumulator(str(tmp_path / "stopped" / "tensorboard"))
    events.Reload()
    assert [point.step for point in events.Scalars("loss")] == [epoch["step"] for epoch in whole.history]


def test_the_best_student_is_that_of_the_epoch_with_the_best_auc(labels, tmp_path, monkeypatch):
    """Each epoch's student is kept aside here and compared with the file of the best."""
    kept = {}
    save = LocalContext.save

    def save_and_keep(self, files, metrics):
        kept[metrics["epoch"]] = files["student.safetensors"]
        save(self, files, metrics)

    answers = iter([0.6, 0.8, 0.7, 0.8])
    score = ValidationSet.score
    monkeypatch.setattr(ValidationSet, "evaluate_every", lambda *_: 1)
    monkeypatch.setattr(ValidationSet, "score", lambda *args: score(*args) | {"val_mean_auc": next(answers)})
    monkeypatch.setattr(LocalContext, "save", save_and_keep)
    run = DistillRun(labels_uri=labels, student_uri=str(tmp_path / "s"), recipe=dataclasses.replace(smoke(), epochs=4))
    result = distill_student(run)
    assert result.best_epoch == 2 and result.val_mean_auc == {1: 0.6, 2: 0.8, 3: 0.7, 4: 0.8}
    assert Path(result.best_checkpoint).read_bytes() == kept[2]
    assert Path(result.checkpoint).read_bytes() == kept[4]
    assert load_student(result.best_checkpoint).meta["val_mean_auc"] == 0.8


def test_without_a_val_split_the_best_is_the_last_and_the_prior_is_known(tmp_path):
    rows = [labelled_row(f"s/{n}", EMOTIONS[n % 4 // 3], seconds=1.5) for n in range(12)]  # three of four are neutral
    labels = write_labels(tmp_path / "labels", rows)
    result = distill_student(DistillRun(labels_uri=labels, student_uri=str(tmp_path / "s"), recipe=smoke()))
    assert result.best_epoch == 2 and same(result.best_checkpoint, result.checkpoint)
    assert set(result.val_mean_auc.values()) == {None}
    meta = load_student(result.checkpoint).meta
    shown = np.exp(4) / (np.exp(4) + 7)  # logit 4 against seven zeros
    expected = np.full(8, (1 - shown) / 7)
    expected[:2] += np.array([0.75, 0.25]) * (shown - (1 - shown) / 7)
    np.testing.assert_allclose(meta["prior"], expected, rtol=1e-5)
    assert meta["prior_strength"] == 1.0


def test_scoring_takes_few_clips_and_at_most_a_fifth_of_the_work(tmp_path):
    rows = [labelled_row(f"v/{n}", split="val", seconds=1.0) for n in range(3)] + [labelled_row("s/0", seconds=1.0)]
    index = LabelIndex(write_labels(tmp_path / "labels", rows, parts=1))
    index.table = index.table.take(np.array([0, 1, 2] * 300 + [3]))
    held_out = ValidationSet(index, np.full(8, 1 / 8))
    assert len(held_out) == LARGEST
    recipe = StudentRecipe(batch_size=64)
    every = held_out.evaluate_every(recipe, 6400)
    assert every * 6400 >= 5 * 4 * LARGEST > (every - 1) * 6400


def test_a_target_that_is_not_finite_stops_with_the_last_epoch_kept(tmp_path):
    rows = [labelled_row(f"s/{n}", seconds=1.5) for n in range(8)]
    rows[5]["frame_logits"] = np.full((6, 8), np.nan).tolist()
    labels = write_labels(tmp_path / "labels", rows)
    run = DistillRun(labels_uri=labels, student_uri=str(tmp_path / "s"), recipe=smoke())
    with pytest.raises(UserError, match="not finite"):
        distill_student(run)
    assert not (tmp_path / "s" / "student.safetensors").exists()


def test_workers_need_two_windows_each():
    recipe = dataclasses.replace(compact(), batch_size=64, windows_per_utterance=2)
    require_shares(recipe, 1000, 3)  # 64 windows in shares of 22, 22 and 20
    require_shares(recipe, 1000, 32)
    with pytest.raises(UserError, match="33 workers"):
        require_shares(recipe, 1000, 33)
    with pytest.raises(UserError, match="too few"):
        require_shares(StudentRecipe(), 1, 1)


def test_the_first_of_equal_epochs_is_the_best():
    history = [{"epoch": n + 1, "val_mean_auc": auc} for n, auc in enumerate([None, 0.7, 0.7])]
    assert best_epoch(history) == 2 and best_epoch(history[:1]) == 1


@pytest.mark.slow
def test_two_workers_streamed_and_killed_go_on_with_two_or_none(ray_session, tmp_path, monkeypatch, caplog):
    """Over more utterances than one block holds; the run is stopped as its whole Ray session would be lost."""
    from pipeline.training import ray_workers

    row = labelled_row("s/0", seconds=1.1)
    rows = [row | {"utterance_id": f"s/{n}", "emotion": EMOTIONS[n % 3]} for n in range(1100)]
    labels = write_labels(tmp_path / "labels", rows, parts=12)
    recipe = dataclasses.replace(smoke(), epochs=3, fraction_per_epoch=0.03)
    run = DistillRun(labels_uri=labels, student_uri=str(tmp_path / "whole"), recipe=recipe, workers=2)
    with caplog.at_level(logging.INFO, "pipeline"):
        whole = distill_student(run)
    told = [record.getMessage() for record in caplog.records]
    assert any(f"loss {whole.loss:.4g}" in line for line in told)  # what rank 0 logs is seen here
    assert [epoch["workers"] for epoch in whole.history] == [2, 2, 2]
    assert whole.steps == 3 * recipe.steps_per_epoch(1100)

    stopped = dataclasses.replace(run, student_uri=str(tmp_path / "stopped"))
    monkeypatch.setattr(ray_workers, "RESTARTS", 0)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.distillation.run._train", dying_after_first_epoch)
        with pytest.raises(Exception, match="killed"):
            distill_student(stopped)
    copy = tmp_path / "alone"
    copy.mkdir()
    for file in (tmp_path / "stopped").glob("*.*"):
        (copy / file.name).write_bytes(file.read_bytes())
    resumed = distill_student(stopped)
    assert [epoch["epoch"] for epoch in resumed.history] == [1, 2, 3]
    assert same(resumed.checkpoint, whole.checkpoint)

    alone = distill_student(dataclasses.replace(run, student_uri=str(copy), workers=0))
    assert [epoch["workers"] for epoch in alone.history] == [2, 1, 1]
    assert alone.history[0]["loss"] == whole.history[0]["loss"]
    assert alone.steps == whole.steps


def dying_after_first_epoch(data, context):
    """The loop of a worker that is lost when the second epoch begins."""
    from pipeline.distillation import run as distilling

    save = type(context).save

    def save_and_die(files, metrics):
        save(context, files, metrics)
        if metrics["epoch"] == 1:
            raise RuntimeError("killed")

    context.save = save_and_die
    distilling._train(data, context)


ON_THREE_CPUS = """
import dataclasses, json, sys
import ray
from modeling.distillation.recipes import smoke
from pipeline.distillation.run import DistillRun, distill_student

ray.init(num_cpus=3, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
recipe = dataclasses.replace(smoke(), batch_size=16)
run = DistillRun(labels_uri=sys.argv[1], student_uri=sys.argv[2], recipe=recipe, workers=4, min_workers=1)
print(json.dumps(distill_student(run).history))
"""


@pytest.mark.slow
@pytest.mark.endurance
def test_fewer_workers_than_asked_for_train_where_there_is_room_for_fewer(labels, tmp_path):
    command = [sys.executable, "-c", ON_THREE_CPUS, labels, str(tmp_path / "s")]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    curve = json.loads(done.stdout.splitlines()[-1])
    assert [(epoch["epoch"], epoch["workers"]) for epoch in curve] == [(1, 3), (2, 3)]  # shares of 3, 3 and 2


@pytest.mark.slow
def test_workers_stop_at_a_target_that_is_not_finite(ray_session, tmp_path):
    rows = [labelled_row(f"s/{n}", seconds=1.5) for n in range(8)]
    rows[5]["frame_logits"] = np.full((6, 8), np.nan).tolist()
    labels = write_labels(tmp_path / "labels", rows)
    with pytest.raises(UserError, match="not finite"):
        distill_student(DistillRun(labels_uri=labels, student_uri=str(tmp_path / "s"), recipe=smoke(), workers=2))


def test_without_resting_faces_a_student_learns_other_targets_and_says_so(tmp_path):
    """One speaker looks angry whatever he says; without that, his happy utterances are as happy as those of the others."""
    rows = [labelled_row(f"s{n % 4}/{n}", EMOTIONS[n % 3], seconds=1.5) for n in range(24)]
    for row in rows[::4]:
        row["logits"] = row["logits"] + 6 * np.eye(8)[EMOTIONS.index("anger")]
        row["frame_logits"] = (np.array(row["frame_logits"]) + 6 * np.eye(8)[EMOTIONS.index("anger")]).tolist()
    labels = write_labels(tmp_path / "labels", rows)
    plain = DistillRun(labels_uri=labels, student_uri=str(tmp_path / "plain"), recipe=smoke())
    without = dataclasses.replace(plain, student_uri=str(tmp_path / "without"), speaker_baseline=True)
    anger = EMOTIONS.index("anger")
    assert distill_student(without).prior[anger] < distill_student(plain).prior[anger] / 1.5
    identity = json.loads((tmp_path / "without" / "identity.json").read_text())
    assert identity["speaker_baseline"] == {"prior_utterances": 4.0}
    assert "speaker_baseline" not in json.loads((tmp_path / "plain" / "identity.json").read_text())
    with pytest.raises(UserError, match="different run"):
        distill_student(dataclasses.replace(plain, student_uri=without.student_uri))
