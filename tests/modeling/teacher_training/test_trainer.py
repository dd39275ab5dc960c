"""The teacher's training: resume, shares of DDP processes, the paper's rates, and stopping before the damage."""

import dataclasses
import io
import itertools

import numpy as np
import pytest
import torch

from modeling.faces.ferplus import SIDE_PX
from modeling.teacher_training.augmentation import FaceJitter, jittered
from modeling.teacher_training.recipes import TeacherRecipe, compact, paper, second_round, smoke
from modeling.teacher_training.trainer import TeacherTrainer
from modeling.teachers.compact import CompactTeacherConfig, normalise_faces
from modeling.teachers.load import load_teacher
from modeling.teachers.published import FerPlusNetwork
from modeling.training import TrainingProcess
from tests.support.golden_curves import some_faces

TINY = CompactTeacherConfig(stem=4, widths=(4, 8), blocks=(1, 1), embedding=8)
RECIPE = TeacherRecipe(compact=TINY, epochs=3, small_epochs=2, decay_epochs=2, batch_size=16)


def saved(trainer: TeacherTrainer) -> dict:
    buffer = io.BytesIO()
    torch.save(trainer.state(), buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


@pytest.mark.parametrize("recipe", [RECIPE, dataclasses.replace(RECIPE, mixup_alpha=0.2, ema_decay=None)])
def test_a_resumed_training_equals_an_uninterrupted_one(recipe):
    through = TeacherTrainer(recipe, some_faces(48), some_faces(16))
    for _ in range(2):
        through.run_epoch()
    state = saved(through)
    through.run_epoch()
    torch.manual_seed(99)  # what happened elsewhere in the process must not matter
    resumed = TeacherTrainer(recipe, some_faces(48), some_faces(16))
    resumed.load_state(state)
    resumed.run_epoch()
    for ours, theirs in zip(resumed.trained.state_dict().values(), through.trained.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_it_learns_what_can_be_learned_and_its_file_gives_the_same_emotions():
    recipe = dataclasses.replace(RECIPE, epochs=18, small_epochs=9, decay_epochs=9, ema_decay=0.9, peak_lr=0.05)
    trainer = TeacherTrainer(recipe, some_faces(320), some_faces(64))
    curve = [trainer.run_epoch() for _ in range(18)]
    assert curve[-1].loss < curve[0].loss and curve[-1].valid_accuracy > 0.8
    faces = some_faces(64)
    loaded = load_teacher("compact", trainer.file({"note": 1}))
    assert (loaded.faces(faces.images_NHW).argmax(1) == faces.votes_NV.argmax(1)).mean() == pytest.approx(
        curve[-1].valid_accuracy, abs=0.02
    )


def test_processes_share_each_batch_and_see_every_face_once(monkeypatch):
    rows = []
    for rank in range(2):
        trainer = TeacherTrainer(RECIPE, some_faces(48), some_faces(16), TrainingProcess(rank=rank, world_size=2))
        seen = []
        trainer._train_on = lambda rows_N, *rest, seen=seen: seen.append(rows_N.tolist()) or 0.0
        monkeypatch.setattr(TrainingProcess, "mean", lambda self, value: value)  # one process here
        trainer.run_epoch()
        rows.append(seen)
    together = sorted(row for shares in rows for share in shares for row in share)
    assert together == list(range(48)) and [len(share) for share in rows[0]] == [8, 8, 8]


def test_a_loss_that_is_not_finite_stops_before_the_weights_move():
    trainer = TeacherTrainer(RECIPE, some_faces(32), some_faces(16))
    before = {name: tensor.clone() for name, tensor in trainer.network.named_parameters()}
    trainer.targets_NE[:] = float("nan")
    with pytest.raises(FloatingPointError, match="step 0.*peak_lr"):
        trainer.run_epoch()
    assert all(torch.equal(before[name], tensor) for name, tensor in trainer.network.named_parameters())


def test_too_few_faces_are_named():
    with pytest.raises(ValueError, match="keeps 8 training and 4 validation"):
        TeacherTrainer(RECIPE, some_faces(8), some_faces(4))


def test_the_papers_rates_and_where_they_apply():
    """0.01, 0.001, 0.0001 for 60 epochs each; a tenth for all but the classifier (ferplus_baselines.m)."""
    recipe = paper()
    assert [recipe.learning_rate(epoch * 10, 10) for epoch in (0, 59, 60, 119, 120, 179)] == pytest.approx(
        [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4]
    )
    assert recipe.epochs == 180 and recipe.body_lr_factor == 0.1 and recipe.dropout == 0.5 and recipe.keep_best


@pytest.mark.parametrize("recipe", [compact(), second_round()])
def test_the_compact_recipes_warm_up_and_end_at_zero(recipe):
    rates = [recipe.learning_rate(step, 10) for step in range(recipe.epochs * 10)]
    assert rates[0] < rates[9] == max(rates) == recipe.peak_lr and 0 < rates[-1] < 0.01 * recipe.peak_lr
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(rates[9:]))


def test_another_number_of_epochs_stretches_the_whole_schedule():
    short = compact().lasting(12)
    assert [short.side_px(epoch) for epoch in (0, 7, 8, 11)] == [40, 40, 48, 48] and short.decay_epochs == 7
    assert paper().lasting(18).lr_drops == (6, 12)


def test_unknown_networks_and_impossible_values_are_refused():
    for change, named in ({"network": "vgg"}, "vgg"), ({"epochs": 0}, "epochs"), ({"ema_decay": 1.5}, "ema_decay"):
        with pytest.raises(ValueError, match=named):
            TeacherRecipe(**change)
    with pytest.raises(ValueError, match="not a compact teacher"):
        TeacherTrainer(smoke(), some_faces(256), some_faces(16), init=b"x")


def test_a_second_round_starts_from_the_weights_of_the_first():
    first = TeacherTrainer(RECIPE, some_faces(48), some_faces(16))
    first.run_epoch()
    second = TeacherTrainer(dataclasses.replace(RECIPE, seed=5), some_faces(48), some_faces(16), init=first.file({}))
    for ours, theirs in zip(second.network.parameters(), first.trained.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)  # the file holds half precision
    wider = dataclasses.replace(RECIPE, compact=dataclasses.replace(TINY, embedding=16))
    with pytest.raises(ValueError, match="embedding=8.*embedding=16"):
        TeacherTrainer(wider, some_faces(48), some_faces(16), init=first.file({}))


def test_soft_labels_are_mixed_into_the_votes_of_the_same_faces():
    faces = some_faces(64)
    faces.votes_NV[::3] = [0] * 8 + [10, 0]  # unknown: the paper's cleaning drops these rows
    kept = np.arange(64) % 3 > 0
    soft = np.random.default_rng(1).dirichlet(np.ones(8), 64).astype(np.float32)
    trainer = TeacherTrainer(dataclasses.replace(RECIPE, soft_share=0.25), faces, some_faces(16), soft_labels_NE=soft)
    expected = 0.75 * faces.votes_NV[kept, :8] / 10 + 0.25 * soft[kept]
    assert np.allclose(trainer.targets_NE.numpy(), expected, atol=1e-6)


def test_without_any_change_augmentation_gives_the_picture_itself():
    """Turned by 0 degrees and zoomed by 1 it is the input, mirrored for about half of the faces."""
    still = FaceJitter(rotation_deg=0, zoom=1, shift=0, gamma=1, cutout_share=0)
    faces = torch.from_numpy(some_faces(64).images_NHW.copy())
    faces[:, :, 0] = 0  # so that a mirror image differs
    x = jittered(faces, still, SIDE_PX, torch.Generator().manual_seed(0))
    plain = normalise_faces(faces)
    same = (x - plain).abs().amax((1, 2, 3)) < 1e-3
    mirrored = (x - plain.flip(3)).abs().amax((1, 2, 3)) < 1e-3
    assert (same ^ mirrored).all() and 16 < same.sum() < 48


@pytest.mark.slow
def test_a_published_network_is_fine_tuned_with_a_tenth_of_the_rate_for_its_body():
    """One step at 224 pixels: the classifier moves about ten times as fast as its gradient says of the body."""
    torch.manual_seed(0)
    body = FerPlusNetwork(gated=True, classes=10)
    weights = io.BytesIO()
    torch.save(body.state_dict(), weights)
    recipe = dataclasses.replace(paper(), batch_size=4, epochs=1, weight_decay=0.0)
    trainer = TeacherTrainer(recipe, some_faces(4), some_faces(2), init=weights.getvalue())
    start = {name: tensor.clone() for name, tensor in trainer.network.named_parameters()}
    assert torch.equal(start["conv1_7x7_s2.weight"], body.conv1_7x7_s2.weight)  # but its classifier is new
    metrics = trainer.run_epoch()
    assert np.isfinite(metrics.loss)
    for name, tensor in trainer.network.named_parameters():
        rate = 0.01 if name.startswith("classifier.") else 0.001
        assert torch.allclose(start[name] - tensor, rate * tensor.grad, atol=1e-7), name
    assert load_teacher("senet50_ferplus", trainer.file({})).crop_rule.side_px == 224


def test_files_know_the_shares_by_their_first_names():
    written = TeacherRecipe(soft_share=0.3, jitter=FaceJitter(cutout_share=0.2)).as_written()
    assert written["soft_part"] == 0.3 and written["jitter"]["cutout_part"] == 0.2
    assert "soft_share" not in written and "cutout_share" not in written["jitter"]
