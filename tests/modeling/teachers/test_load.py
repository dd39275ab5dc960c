"""Teachers by their files, and what the packaged weights are worth."""

import hashlib
import io
import json

import numpy as np
import pytest
import safetensors.torch
import torch

from modeling.emotions import EMOTIONS
from modeling.faces.ferplus import SIDE_PX, majority_rule, paper_rule, vote_distributions
from modeling.state_dicts import read_safetensors
from modeling.teachers.catalogue import packaged_weights
from modeling.teachers.compact import (
    CompactTeacher,
    CompactTeacherConfig,
    load_compact_teacher,
    save_compact_teacher,
)
from modeling.teachers.load import load_teacher
from pipeline.teachers.ferplus_files import read_faces

SMALL = CompactTeacherConfig(stem=4, widths=(4, 8), blocks=(1, 1), embedding=8)


def some_crops(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, SIDE_PX, SIDE_PX), np.uint8)


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


def test_weights_that_are_not_finite_are_refused_by_name():
    network = CompactTeacher(SMALL)
    network.classifier.bias.data[0] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinity .classifier.bias"):
        load_compact_teacher(save_compact_teacher(network, {}))


@pytest.mark.parametrize(
    "claimed", [{"embedding": 10**13}, {"widths": [10**7] * 3}, {"blocks": [10**9] * 3}, {"stem": 10**30}]
)
def test_a_config_that_claims_more_than_the_file_holds_takes_no_memory(claimed):
    tensors, header = read_safetensors(packaged_weights())
    lying = safetensors.torch.save(tensors, header | {"config": json.dumps(json.loads(header["config"]) | claimed)})
    with pytest.raises(ValueError, match="not a compact teacher checkpoint") as found:
        load_teacher("mine", lying)
    assert "allocate" not in str(found.value)


def test_a_face_gets_the_same_logits_alone_and_in_a_batch_and_mirrored():
    teacher = load_teacher("compact", packaged_weights())
    crops = some_crops(5)
    together = teacher(crops)
    assert together.shape == (5, 8) and together.dtype == np.float32
    assert np.allclose(together[3:4], teacher(crops[3:4]), atol=1e-4)
    assert np.allclose(together, teacher(crops, batch_size=2), atol=1e-4)
    assert np.allclose(together, teacher(np.ascontiguousarray(crops[:, :, ::-1])), atol=1e-4)
    assert teacher(crops[:0]).shape == (0, 8)


def test_one_view_of_a_face_is_enough_where_asked():
    both, one = (load_teacher("compact", packaged_weights(), flip_tta=flip_tta) for flip_tta in (True, False))
    crops = some_crops(5)
    mirror_image = np.ascontiguousarray(crops[:, :, ::-1])
    assert np.allclose(both(crops), (one(crops) + one(mirror_image)) / 2, atol=1e-4)
    assert not np.allclose(one(crops), one(mirror_image), atol=1e-2)


def test_a_blank_face_gives_finite_logits():
    assert np.isfinite(load_teacher("compact", packaged_weights())(np.zeros((1, SIDE_PX, SIDE_PX), np.uint8))).all()


def test_the_fingerprint_is_the_sha256_of_the_file():
    digest = hashlib.sha256(packaged_weights()).hexdigest()
    assert load_teacher("compact", packaged_weights()).fingerprint == f"compact@{digest}"


def test_the_kind_of_a_file_shows_in_its_bytes():
    """A compact file under any name, and a TorchScript one, which needs its description."""
    assert load_teacher("mine", packaged_weights()).fingerprint.startswith("mine@")
    scripted = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8))), scripted)
    description = {"side_px": 4, "colour": "grey", "classes": EMOTIONS}
    teacher = load_teacher("scripted", scripted.getvalue(), json.dumps(description).encode())
    assert teacher(np.zeros((2, 4, 4), np.uint8)).shape == (2, 8)
    with pytest.raises(ValueError, match=r"(?s)scripted.json beside the file.*side_px"):
        load_teacher("scripted", scripted.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.02), ("bf16", 0.2)])
def test_lower_precision_gives_the_same_emotions(data_dir, precision, tolerance):
    """As on a GPU, here in autocast on the CPU: top-1 agreement and the distance of the logits."""
    faces = read_faces(str(data_dir / "ferplus" / "valid.parquet")).images_NHW[:300]
    exact = load_teacher("compact", packaged_weights()).faces(faces)
    close = load_teacher("compact", packaged_weights(), precision=precision).faces(faces)
    assert (exact.argmax(1) == close.argmax(1)).mean() >= 0.985
    assert np.quantile(np.abs(exact - close), 0.99) < tolerance


@pytest.mark.gpu
def test_the_gpu_gives_the_logits_of_the_cpu():
    crops = some_crops(700)
    on_cpu, on_gpu = (load_teacher("compact", packaged_weights(), device=device)(crops) for device in ("cpu", "cuda"))
    assert np.quantile(np.abs(on_cpu - on_gpu), 0.99) < 0.05


@pytest.mark.slow
def test_the_packaged_teacher_is_as_good_as_its_card_says(data_dir):
    """FER+ validation: the numbers of modeling/teachers/weights/README.md, to half a point."""
    faces = read_faces(str(data_dir / "ferplus" / "valid.parquet"))
    hits_N = load_teacher("compact", packaged_weights()).faces(faces.images_NHW).argmax(1)
    accuracies = []
    for rule in (paper_rule, majority_rule):
        keep_N = rule(faces.votes_NV)
        truth_N = vote_distributions(faces.votes_NV[keep_N]).argmax(1)
        accuracies.append((hits_N[keep_N] == truth_N).mean())
    assert accuracies == pytest.approx([0.870, 0.881], abs=0.005)
