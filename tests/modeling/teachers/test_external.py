"""Teachers from elsewhere: the reference ONNX scores as published; each field of a description against numpy by hand."""

import io
import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from modeling.emotions import EMOTIONS, MASKED_LOGIT
from modeling.faces.ferplus import majority_rule
from modeling.teachers.base import Teacher
from modeling.teachers.external import TeacherDescription, external_teacher, is_torchscript, read_description
from pipeline.teachers.ferplus_files import read_faces
from tests.support.onnx_files import linear_onnx

SIDE = 6
REFERENCE = TeacherDescription(side_px=48, colour="grey", scale=1 / 255, classes=EMOTIONS)


def described(**values) -> TeacherDescription:
    return TeacherDescription(**{"side_px": SIDE, "colour": "grey", "classes": EMOTIONS} | values)


class Linear(nn.Module):
    """Flattened picture -> outputs; as probabilities, as a map of one pixel, or as one of two outputs if asked."""

    def __init__(self, channels: int, classes: int, last: nn.Module | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(channels * SIDE * SIDE, classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        self.last = last or nn.Identity()

    def forward(self, x):
        return self.last(self.linear(x.flatten(1)))


def torchscript(network: nn.Module) -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(network.eval()), file)
    return file.getvalue()


def logits(network: nn.Module, crops: np.ndarray, **values) -> np.ndarray:
    weights = torchscript(network)
    return Teacher("other", weights, external_teacher(weights, described(**values)))(crops)


def by_hand(network: Linear, pictures: np.ndarray) -> np.ndarray:
    """Pictures in the shape and scale that the network sees -> its outputs, by numpy."""
    weight, bias = (parameter.detach().numpy().astype(np.float64) for parameter in network.linear.parameters())
    return pictures.reshape(len(pictures), -1) @ weight.T + bias


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE), np.uint8)


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


def test_the_reference_network_scores_as_published(data_dir):
    """0.8803 on FER+ valid under the majority rule (n = 3,199), and onnxruntime's own logits."""
    weights = (data_dir / "weights" / "ferplus_reference" / "ferplus_vicksam_pd.onnx").read_bytes()
    faces = read_faces(data_dir / "ferplus", "valid")
    keep_N = majority_rule(faces.votes_NV)
    kept = faces.subset(keep_N)
    ours = Teacher("reference", weights, external_teacher(weights, REFERENCE)).faces(kept.images_NHW)
    assert keep_N.sum() == 3199
    assert (ours.argmax(1) == kept.votes_NV[:, :8].argmax(1)).sum() == 2816
    pictures = kept.images_NHW[:64, None].astype(np.float32) / 255
    assert np.allclose(
        ours[:64], onnxruntime.InferenceSession(weights).run(None, {"gray48": pictures})[0], atol=1e-5, rtol=0
    )


def test_a_scripted_module_gives_its_own_logits(grey):
    network = Linear(1, 8)
    with torch.no_grad():
        expected = network(torch.from_numpy(grey)[:, None] / 255).numpy()
    assert np.allclose(logits(network, grey, scale=1 / 255), expected, atol=1e-6)


def test_seven_classes_in_another_order_and_with_other_names(grey):
    """The class order of FER2013, whose seven emotions lack contempt."""
    network = Linear(1, 7)
    names = ("Angry", "Disgusted", "afraid", "happy", "SAD", "surprised", "natural")
    ours = logits(network, grey, scale=1 / 255, classes=names)
    theirs = by_hand(network, grey / 255)
    order = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    for column, emotion in enumerate(EMOTIONS[:7]):
        assert np.allclose(ours[:, column], theirs[:, order.index(emotion)], atol=1e-5)
    assert (ours[:, 7] == MASKED_LOGIT).all()
    assert external_teacher(torchscript(network), described(classes=names)).masked == ("contempt",)


def test_probabilities_become_logarithms_and_stay_finite(grey):
    ours = logits(Linear(1, 8, nn.Softmax(1)), grey, scale=1 / 255, outputs="probabilities")
    theirs = by_hand(Linear(1, 8), grey / 255)
    theirs -= np.log(np.exp(theirs).sum(1, keepdims=True))
    assert np.allclose(ours, theirs, atol=1e-4)
    sharp = logits(Linear(1, 8, nn.Sequential(Scaled(1e4), nn.Softmax(1))), grey, outputs="probabilities")
    assert sharp.min() == pytest.approx(np.log(1e-8)) and np.isfinite(sharp).all()


class Scaled(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def test_colours_channels_layouts_mean_and_deviation(grey, rgb):
    network, mean, std = Linear(3, 8), [0.1, 0.2, 0.3], [0.5, 0.25, 0.75]
    scaled = {"scale": 1 / 255, "mean": mean, "std": std}
    bgr = (rgb[..., ::-1] / 255 - mean) / std  # mean and std are in the order of the network's channels
    assert np.allclose(
        logits(network, rgb, colour="bgr", **scaled), by_hand(network, bgr.transpose(0, 3, 1, 2)), atol=1e-5
    )
    picture = (rgb / 255 - mean) / std
    nhwc = logits(network, rgb, colour="rgb", layout="NHWC", **scaled)
    assert np.allclose(nhwc, by_hand(network, np.ascontiguousarray(picture)), atol=1e-5)
    one_number = logits(network, rgb, colour="rgb", mean=128, std=64)
    assert np.allclose(one_number, by_hand(network, (rgb.transpose(0, 3, 1, 2) - 128.0) / 64), atol=1e-5)
    copied = logits(network, grey, channels=3, **scaled)
    expected = (np.repeat(grey[..., None], 3, 3) / 255 - mean) / std
    assert np.allclose(copied, by_hand(network, expected.transpose(0, 3, 1, 2)), atol=1e-5)


def test_the_mean_over_a_face_and_its_mirror_image(grey):
    network = Linear(1, 8)
    ours = logits(network, grey, scale=1 / 255, mirrored=True)
    expected = (by_hand(network, grey / 255) + by_hand(network, grey[:, :, ::-1] / 255)) / 2
    assert np.allclose(ours, expected, atol=1e-5)


def test_an_output_map_of_one_pixel_is_flattened(grey):
    ours = logits(Linear(1, 8, nn.Unflatten(1, (8, 1, 1))), grey, scale=1 / 255)
    assert np.allclose(ours, by_hand(Linear(1, 8), grey / 255), atol=1e-5)


@pytest.mark.parametrize("batch", [None, 1])
def test_onnx_of_any_batch_and_of_one(grey, batch):
    network = Linear(1, 7)
    weight, bias = (parameter.detach().numpy() for parameter in network.linear.parameters())
    weights = linear_onnx((batch, 1, SIDE, SIDE), weight.T, bias)
    description = described(classes=EMOTIONS[:7], scale=1 / 255)
    ours = Teacher("onnx", weights, external_teacher(weights, description))(grey)
    assert np.allclose(ours[:, :7], by_hand(network, grey / 255), atol=1e-5)
    assert (ours[:, 7] == MASKED_LOGIT).all()


def test_a_trace_that_took_one_picture_for_all(grey):
    class OneRow(Linear):
        def forward(self, x):
            return self.linear(x.reshape(1, -1))

    file = io.BytesIO()
    network = OneRow(1, 8)
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 1, SIDE, SIDE)), file)
    ours = Teacher("trace", b"", external_teacher(file.getvalue(), described(scale=1 / 255)))(grey)
    assert np.allclose(ours, by_hand(network, grey / 255), atol=1e-5)


def test_the_two_kinds_of_file_are_told_apart():
    state = io.BytesIO()
    torch.save(Linear(1, 8).state_dict(), state)
    assert is_torchscript(torchscript(Linear(1, 8)))
    assert not is_torchscript(state.getvalue()) and not is_torchscript(b"") and not is_torchscript(b"PK\x03\x04")
    for foreign in (state.getvalue(), b"", b"<html>", torchscript(Linear(1, 8))[:-200]):
        with pytest.raises(ValueError, match="neither a TorchScript file nor an ONNX model.*torch.onnx.export"):
            external_teacher(foreign, described())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": EMOTIONS}, "gives 7 outputs, the description has 8 classes"),
        ({"channels": 3, "classes": EMOTIONS[:7]}, r"does not take a picture of shape \(1, 3, 6, 6\)"),
        ({"side_px": 48, "classes": EMOTIONS[:7]}, r"does not take a picture of shape \(1, 1, 48, 48\)"),
        ({"layout": "NHWC", "side_px": 7, "classes": EMOTIONS[:7]}, r"shape \(1, 7, 7, 1\)"),
        ({"outputs": "probabilities", "classes": EMOTIONS[:7]}, 'network gives logits .*give "outputs": "logits"'),
    ],
)
def test_a_description_that_does_not_fit_the_network_is_refused(values, message):
    weight, bias = np.zeros((SIDE * SIDE, 7), np.float32), np.zeros(7, np.float32)
    onnx = linear_onnx((None, 1, SIDE, SIDE), weight, bias)
    for weights in (onnx, torchscript(Linear(1, 7))):
        with pytest.raises(ValueError, match=message):
            external_teacher(weights, described(**values))


def test_outputs_that_are_no_logits_are_refused():
    with pytest.raises(ValueError, match='gives probabilities .*give "outputs": "probabilities"'):
        external_teacher(torchscript(Linear(1, 8, nn.Softmax(1))), described())
    with pytest.raises(ValueError, match=r"gives shape \(1, 2, 4\) for one picture; expected \(1, 8\)"):
        external_teacher(torchscript(Linear(1, 8, nn.Unflatten(1, (2, 4)))), described())


FULL = {"side_px": 48, "colour": "grey", "classes": list(EMOTIONS)}


def test_a_description_is_read_from_json():
    text = json.dumps(FULL | {"scale": 0.5, "mean": [1.5], "channels": 3, "std": [1, 2, 3], "crop_scale": 1.3})
    expected = TeacherDescription(
        side_px=48, colour="grey", classes=EMOTIONS, scale=0.5, mean=1.5, channels=3, std=(1, 2, 3), crop_scale=1.3
    )
    assert read_description(text, "x.json") == read_description(text.encode(), "x.json") == expected
    assert read_description(json.dumps(FULL), "x").channels == 1
    assert read_description(json.dumps(FULL | {"colour": "bgr"}), "x").channels == 3


@pytest.mark.parametrize("text", ["", " \n", b"", "[1]", "{", b"\xff\xfe{"])
def test_a_missing_or_broken_description_shows_one_that_works(text):
    with pytest.raises(ValueError, match="^net.json: .*a complete description is") as refused:
        read_description(text, "net.json")
    example = str(refused.value).partition("a complete description is\n")[2]
    assert read_description(example, "example").emotions == EMOTIONS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 48}, r"net.json: unknown keys \['size'\]; known are .*'side_px'"),
        ({"side_px": None}, "net.json: side_px = None does not fit; give a whole number"),
        ({"side_px": "48"}, "side_px = '48'"),
        ({"side_px": True}, "side_px = True"),
        ({"colour": "gray"}, "colour = 'gray' does not fit; give one of .*grey.*rgb.*bgr"),
        ({"colour": "rgb", "channels": 1}, r"channels = 1 does not fit; give one of \[3\] for rgb"),
        ({"channels": True}, "channels = True"),
        ({"scale": "1/255"}, "scale = '1/255' does not fit; give a number"),
        ({"scale": 0}, "scale = 0"),
        ({"mean": [1, 2]}, r"mean = \[1, 2\] does not fit; give one number, or one for each of the 1 channels"),
        ({"mean": float("nan")}, "mean = nan"),
        ({"std": 0}, "std = 0 does not fit; give one number above 0"),
        ({"std": [1, "a", 2]}, "std = "),
        ({"outputs": "softmax"}, "outputs = 'softmax'"),
        ({"crop_scale": -1}, "crop_scale = -1"),
        ({"mirrored": "yes"}, "mirrored = 'yes' does not fit; give true or false"),
        ({"layout": "CHW"}, "layout = 'CHW'"),
        ({"classes": "neutral"}, "classes = 'neutral' does not fit; give a list"),
        ({"classes": [*EMOTIONS[:7], "calm"]}, r"classes \['calm'\] are not known; known are neutral, natural"),
        ({"classes": [*EMOTIONS[:7], "Happy"]}, r"classes \['happiness', 'Happy'\] name one emotion more than once"),
        ({"classes": EMOTIONS[:6]}, "6 classes .*at least seven"),
    ],
)
def test_what_cannot_be_in_a_description_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        read_description(json.dumps(FULL | changes), "net.json")


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match=r"net.json: keys \['side_px', 'classes'\] are missing; a complete"):
        read_description('{"colour": "grey"}', "net.json")
