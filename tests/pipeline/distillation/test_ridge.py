"""The recipe `whisper` as users run it: from a distillation set to a student, in this process and on Ray's workers."""

import dataclasses

import numpy as np
import pytest
import torch

from cluster.failures import UserError
from modeling.distillation.recipes import whisper
from modeling.emotions import EMOTIONS
from modeling.students.build import WhisperConfig
from pipeline.dataset.distillation_set import write_part
from pipeline.distillation import ridge, window_sums
from pipeline.distillation.ridge import RidgeRun, distill_linear
from pipeline.students.load import read_student, student_meta
from tests.support.job_calls import answer_of
from tests.support.label_rows import label_table, labelled_row
from tests.support.small_whisper import NAME, encoder, openai_file, small_size


@pytest.fixture(autouse=True)
def small_model(monkeypatch, tmp_path):
    """In a cache folder of its own."""
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path / "cache"))
    with small_size():
        yield


@pytest.fixture
def labels(tmp_path):
    rows = [labelled_row(f"s{n % 4}/{n}", EMOTIONS[n // 4 % 3], seconds=1.5 + n % 3) for n in range(24)]
    rows += [labelled_row(f"v{n % 3}/{n}", EMOTIONS[n % 3], "val", seconds=1.5) for n in range(24)]
    for part in range(4):
        write_part(str(tmp_path / "labels"), label_table(rows[part::4]))
    (tmp_path / "labels" / "identity.json").write_text('{"teacher": "compact@0"}')
    return str(tmp_path / "labels")


@pytest.fixture
def run(labels, tmp_path):
    (tmp_path / "small.pt").write_bytes(openai_file(encoder()))
    recipe = dataclasses.replace(whisper(), student=WhisperConfig(front_end=NAME, layers=2), penalty=0.01)
    return RidgeRun(
        labels_uri=labels,
        student_uri=str(tmp_path / "student"),
        recipe=recipe,
        front_end_uri=str(tmp_path / "small.pt"),
    )


def test_a_student_learns_the_emotion_of_a_tone_and_says_it_of_speakers_that_it_did_not_hear(run):
    trained = distill_linear(run)
    assert trained.utterances == 24 and trained.speakers == 4 and trained.windows == 24 // 3 * (2 + 4 + 6)
    assert trained.val_utterances == 24 and trained.val_mean_auc == 1.0 and trained.explained > 0.9
    student = read_student(run.student_uri)
    assert student_meta(student)["prior"] == trained.prior and sum(trained.prior) == pytest.approx(1)


def test_the_students_folder_holds_what_a_front_end_of_ones_own_is_made_of(run, tmp_path):
    distill_linear(run)
    (tmp_path / "small.pt").unlink()
    tone = np.sin(np.arange(32_000) / 5).astype(np.float32) / 4
    assert read_student(run.student_uri).predict(tone, 16_000).sum() == pytest.approx(1)
    (tmp_path / "student" / "front_end.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"front_end\.safetensors: .*copy it again"):
        read_student(run.student_uri)


@pytest.mark.slow
def test_rays_workers_give_the_same_student(run, monkeypatch, ray_session, tmp_path):
    distill_linear(run)
    monkeypatch.setattr(ridge, "IN_PROCESS_UTTERANCES", 0)
    monkeypatch.setattr(window_sums, "GROUP_UTTERANCES", 8)
    other = dataclasses.replace(run, student_uri=str(tmp_path / "other"))
    distill_linear(other)
    one, two = (read_student(each.student_uri).state_dict() for each in (run, other))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=1e-5)


def test_utterances_with_two_faces_are_left_out_unless_asked_for(run, labels, tmp_path):
    write_part(labels, label_table([labelled_row("s0/two", "anger", seconds=1.5, face_is_ambiguous=True)]))
    trained = distill_linear(run)
    assert (trained.utterances, trained.ambiguous) == (24, 1)
    both = distill_linear(dataclasses.replace(run, ambiguous=True, student_uri=str(tmp_path / "both")))
    assert (both.utterances, both.ambiguous) == (25, 0)


def test_another_penalty_in_the_same_folder_is_refused(run):
    distill_linear(run)
    with pytest.raises(UserError, match="holds a different run"):
        distill_linear(dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, penalty=2.0)))


def test_a_front_end_of_another_size_is_named(run, tmp_path):
    larger = dataclasses.replace(run.recipe, student=WhisperConfig(front_end="tiny"))
    with pytest.raises(UserError, match=r"--front-end .*small\.pt: not the weights of Whisper tiny"):
        distill_linear(dataclasses.replace(run, recipe=larger))


def test_the_command_writes_the_student_its_card_and_what_it_learned_from(run, labels, tmp_path):
    out = tmp_path / "by_command"
    options = ("--recipe", "whisper", "--layers", "2", "--penalty", "0.01")
    front_end = ("--whisper", NAME, "--front-end", run.front_end_uri)
    answer = answer_of("distill", "--labels", labels, "--out", out, *options, *front_end)
    assert answer["val_mean_auc"] == 1.0 and answer["speech_s"] == pytest.approx(8 * (1.5 + 2.5 + 3.5))
    assert {path.name for path in out.iterdir()} >= {
        "student.safetensors",
        "front_end.safetensors",
        "README.md",
        "run.json",
        "identity.json",
    }
