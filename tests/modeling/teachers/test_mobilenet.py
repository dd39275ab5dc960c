"""The MobileNet teacher: it computes what the published face recogniser does, and its files hold what it is."""

import json

import numpy as np
import pytest
import torch

from modeling.teachers.face_recogniser import body_file
from modeling.teachers.load import load_teacher
from modeling.teachers.mobilenet import (
    MEAN_RGB,
    MobileNetConfig,
    MobileNetTeacher,
    load_mobilenet,
    prepare,
    save_mobilenet,
    settle_batch_norms,
    start_from,
)
from tests.support.recogniser_files import GraphFiles, evaluated
from tests.support.requirements import require_data

POOLED = "global_pooling/Mean"


def random_faces(n: int, side_px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side_px, side_px, 3)).astype(np.uint8)


def recogniser(description: bytes, values: bytes) -> MobileNetTeacher:
    network = MobileNetTeacher()
    start_from(network, body_file(description, values, sha256=None))
    return network.eval()


def assert_computes_the_graph(description: bytes, values: bytes, side_px: int) -> None:
    faces_RGB = random_faces(2, side_px)
    network = recogniser(description, values)
    with torch.inference_mode():
        ours = network.features(prepare(torch.from_numpy(faces_RGB), side_px)).numpy()
    pictures_BGR = faces_RGB[..., ::-1].astype(np.float64) - np.array(MEAN_RGB[::-1])
    theirs = evaluated(json.loads(description), values, pictures_BGR, POOLED)
    assert np.abs(ours - theirs).max() < 1e-4 and theirs.std() > 0.05


def test_it_computes_what_the_graph_does_node_by_node():
    files = GraphFiles()
    assert_computes_the_graph(files.description_bytes, files.values, side_px=64)


def test_it_computes_what_the_published_recogniser_does():
    folder = require_data() / "weights" / "face_pretrained"
    description, values = ((folder / f"faceres-deep.{end}").read_bytes() for end in ("json", "bin"))
    assert_computes_the_graph(description, values, side_px=96)
    assert body_file(description, values)  # and it is the file that was published


def test_batch_norms_that_have_settled_change_nothing_also_while_training():
    files = GraphFiles()
    network = recogniser(files.description_bytes, files.values)
    x = prepare(torch.from_numpy(random_faces(8, 64)), 64)
    with torch.no_grad():
        before = network.features(x)
        settle_batch_norms(network, x)
        after, training = network.features(x), network.train().features(x)
    assert torch.allclose(after, before, atol=1e-4) and torch.allclose(training, before, atol=1e-4)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda files: files.weights[0].update(shape=[3, 3, 32, 3]), r"conv1: conv.weight is \(3, 32, 3, 3\)"),
        (lambda files: setattr(files, "values", files.values[:-4]), "inside global_pooling"),
        (lambda files: _stride(files, "conv_dw_2/convolved", "1"), "strides and paddings are"),
        (lambda files: _rename(files, "conv_pw_3_relu/Cast"), "not the face recogniser's network: 2 tensors differ"),
    ],
)
def test_another_graph_is_refused_by_what_is_different(spoil, named):
    files = GraphFiles()
    spoil(files)
    with pytest.raises(ValueError, match=named):
        body_file(files.description_bytes, files.values, sha256=None)


def _stride(files: GraphFiles, name: str, stride: str) -> None:
    node = next(node for node in files.nodes if node["name"] == name)
    node["attr"]["strides"]["list"]["i"] = ["1", stride, stride, "1"]


def _rename(files: GraphFiles, name: str) -> None:
    for entry in [*files.nodes, *files.weights]:
        if entry["name"] == name:
            entry["name"] = "another"


def test_values_that_were_not_published_are_refused_before_anything_is_made_of_them():
    files = GraphFiles()
    with pytest.raises(ValueError, match="the values have sha256"):
        body_file(files.description_bytes, files.values)


def test_a_saved_teacher_is_loaded_with_its_side_and_gives_the_same_logits():
    torch.manual_seed(0)
    network = MobileNetTeacher(MobileNetConfig(side_px=64)).eval()
    weights = save_mobilenet(network, {"note": 1})
    loaded = load_mobilenet(weights).eval()
    assert loaded.config == network.config and len(weights) < 7e6
    faces_NHW = random_faces(5, 48)[..., 0]
    with torch.inference_mode():
        x = prepare(torch.from_numpy(faces_NHW), 64)
        expected = (network(x) + network(x.flip(-1))) / 2
    teacher = load_teacher("mine", weights)  # with its batch norms folded
    assert teacher.crop_rule.grey and teacher.crop_rule.side_px == 48
    assert np.allclose(teacher(faces_NHW), expected.numpy(), atol=2e-3)


def test_a_damaged_teacher_is_named():
    weights = save_mobilenet(MobileNetTeacher(), {})
    for damaged in (weights[:1000], weights.replace(b"units.3.conv", b"units.3.cony")):
        with pytest.raises(ValueError, match="not a .* teacher"):
            load_teacher("mine", damaged)


def test_a_body_without_classifier_starts_a_teacher_but_is_none():
    files = GraphFiles()
    body = body_file(files.description_bytes, files.values, sha256=None)
    with pytest.raises(ValueError, match="2 missing .classifier.weight, classifier.bias"):
        load_teacher("mine", body)
    network = MobileNetTeacher()
    classifier = network.classifier.weight.clone()
    start_from(network, body)
    assert torch.equal(network.classifier.weight, classifier)


def test_grey_faces_are_rgb_faces_with_three_equal_channels():
    grey_NHW = torch.from_numpy(random_faces(3, 48)[..., 0].copy())
    assert torch.equal(prepare(grey_NHW, 96), prepare(grey_NHW[..., None].repeat(1, 1, 1, 3), 96))


def test_the_same_files_give_the_same_start_so_that_a_training_goes_on():
    files = GraphFiles()
    starts = {body_file(files.description_bytes, files.values, sha256=None) for _ in range(4)}
    assert len(starts) == 1
