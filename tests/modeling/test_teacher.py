"""The compact teacher: its file, its training, and what the packaged weights are worth."""

import numpy as np
import pytest
import torch

from modeling.compact_teacher import CompactTeacher, CompactTeacherConfig
from modeling.ferplus import SIDE_PX, FaceSet, majority_rule, paper_rule, read_parquet, vote_distributions
from modeling.teacher import load_compact_teacher, load_teacher, packaged_weights, save_compact_teacher
from modeling.teacher_training import TeacherRecipe, TeacherTrainer

SMALL = CompactTeacherConfig(widths=(4, 8), blocks=1, embedding=8)


def test_saved_weights_give_the_same_logits():
    network = CompactTeacher(SMALL).eval()
    faces = torch.randn(3, 1, SIDE_PX, SIDE_PX)
    loaded = load_compact_teacher(save_compact_teacher(network, {})).eval()
    with torch.no_grad():
        assert torch.allclose(network(faces), loaded(faces), atol=2e-2)  # half precision on disk


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-10], lambda data: b"\x80\x02" + data])
def test_a_damaged_or_foreign_file_is_refused_with_the_next_step(damage):
    with pytest.raises(ValueError, match="not a compact teacher checkpoint .*train-teacher"):
        load_compact_teacher(damage(save_compact_teacher(CompactTeacher(SMALL), {})))


def test_a_face_gets_the_same_logits_alone_and_in_a_batch_and_mirrored():
    teacher = load_teacher("compact", packaged_weights())
    crops = np.random.default_rng(0).integers(0, 255, (5, SIDE_PX, SIDE_PX), np.uint8)
    together = teacher(crops)
    assert together.shape == (5, 8) and together.dtype == np.float32
    assert np.allclose(together[3:4], teacher(crops[3:4]), atol=1e-4)
    assert np.allclose(together, teacher(np.ascontiguousarray(crops[:, :, ::-1])), atol=1e-4)
    assert teacher(crops[:0]).shape == (0, 8)


def test_a_blank_face_gives_finite_logits():
    assert np.isfinite(load_teacher("compact", packaged_weights())(np.zeros((1, SIDE_PX, SIDE_PX), np.uint8))).all()


def some_faces(n: int) -> FaceSet:
    rng = np.random.default_rng(0)
    votes = np.zeros((n, 10), np.uint8)
    votes[np.arange(n), rng.integers(0, 8, n)] = 10
    return FaceSet(rng.integers(0, 255, (n, SIDE_PX, SIDE_PX), np.uint8), votes)


def test_a_resumed_training_equals_an_uninterrupted_one():
    recipe = TeacherRecipe(network=SMALL, epochs=3, small_epochs=2, batch_size=16)
    through = TeacherTrainer(recipe, some_faces(48), some_faces(16))
    for _ in range(2):
        through.run_epoch()
    state = {name: value for name, value in torch.load(_bytes(through.state()), weights_only=True).items()}
    through.run_epoch()
    resumed = TeacherTrainer(recipe, some_faces(48), some_faces(16))
    resumed.load_state(state)
    resumed.run_epoch()
    for ours, theirs in zip(resumed.average.state_dict().values(), through.average.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def _bytes(state: dict):
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.slow
def test_the_packaged_teacher_is_as_good_as_its_card_says(data_dir):
    """FER+ validation: the numbers of modeling/weights/README.md, to half a point."""
    faces = read_parquet(data_dir / "ferplus" / "valid.parquet")
    hits_N = load_teacher("compact", packaged_weights())(faces.images_NHW).argmax(1)
    accuracies = []
    for rule in (paper_rule, majority_rule):
        keep_N = rule(faces.votes_NV)
        truth_N = vote_distributions(faces.votes_NV[keep_N]).argmax(1)
        accuracies.append((hits_N[keep_N] == truth_N).mean())
    assert accuracies == pytest.approx([0.853, 0.861], abs=0.005)
