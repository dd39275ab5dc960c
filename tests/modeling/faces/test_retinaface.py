"""The detector against the package it replaces, on random weights, and against counted faces, on real clips."""

import csv
import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from retinaface.prior_box import priorbox

from modeling.faces.detections import Faces
from modeling.faces.retinaface import DetectorOptions, load_detector
from modeling.faces.retinaface_network import MobileNetRetinaFace, prior_boxes
from tests.support.pictures import sampled_frames

SIDE_PX = 320


def saved(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def mobilenet(data_dir) -> bytes:
    return (data_dir / "weights" / "retinaface" / "mobilenet0.25_Final.pth").read_bytes()


@pytest.fixture(scope="module")
def detector(mobilenet):
    return load_detector("mobilenet0.25", mobilenet)


@pytest.fixture(scope="module")
def portrait(data_dir) -> np.ndarray:
    """512 x 512, one face."""
    return sampled_frames(data_dir / "video" / "unlabelled" / "LivePortrait_driving_d10.mp4", 1)[0]


@pytest.fixture(scope="module")
def package_model():
    """The package's own predictor; its published weights are not at hand, so random ones that fire on a few priors.

    Batch statistics come from one picture, the heads are scaled into the range of a trained network, and the class
    bias lets half a percent of the priors pass.
    """
    predict_single = pytest.importorskip("retinaface.predict_single")
    torch.manual_seed(0)
    model = predict_single.Model(max_size=SIDE_PX)
    network = model.model
    picture = torch.from_numpy(model.transform(image=noise_picture(1))["image"].transpose(2, 0, 1))[None]
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(picture)
        outputs = network.eval()(picture)
        for heads, output, largest in zip(heads_of(network), outputs, (2, 6, 2), strict=True):
            for parameter in heads.parameters():
                parameter *= largest / output.abs().max()
        logits = network(picture)[1][0]
        for head in network.ClassHead:
            head.conv1x1.bias[1::2] += 0.85 - (logits[:, 1] - logits[:, 0]).quantile(0.995)
    return model


def heads_of(network: torch.nn.Module) -> list[torch.nn.ModuleList]:
    return [network.BboxHead, network.ClassHead, network.LandmarkHead]


def noise_picture(seed: int, side: int = SIDE_PX) -> np.ndarray:
    """Smooth coloured noise, uint8 RGB."""
    coarse = np.random.default_rng(seed).integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def test_resnet50_equals_the_package_box_for_box(package_model):
    detector = load_detector(
        "resnet50", saved(package_model.model.state_dict()), options=DetectorOptions(longest_side_px=SIDE_PX)
    )
    pictures = [noise_picture(seed) for seed in (1, 2)]
    compared = 0
    for faces, picture in zip(detector(pictures), pictures, strict=True):
        theirs = [a for a in package_model.predict_jsons(picture) if a["bbox"]]
        assert len(faces) == len(theirs)
        compared += len(theirs)
        for their in theirs:
            ours = np.abs(faces.boxes_N4 - np.clip(their["bbox"], 0, SIDE_PX)).sum(axis=1).argmin()
            assert faces.scores_N[ours] == pytest.approx(their["score"], abs=1e-3)
            assert truncates_to(faces.boxes_N4[ours], np.clip(their["bbox"], 0, SIDE_PX))
            assert truncates_to(faces.landmarks_N52[ours], np.array(their["landmarks"]))
    assert compared > 10, "too few boxes to mean anything"


def test_the_small_network_equals_the_packages_post_processing_on_real_faces(mobilenet, portrait, data_dir):
    """The package's predictor around the small network and its own input, on 512 x 512 frames without the quick look."""
    predict_single = pytest.importorskip("retinaface.predict_single")
    model = predict_single.Model(max_size=512)
    state = torch.load(io.BytesIO(mobilenet), map_location="cpu", weights_only=True)
    model.model = MobileNetRetinaFace()
    model.model.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
    model.eval()
    model.transform = lambda image: {"image": image[:, :, ::-1].astype(np.float32) - np.float32([104, 117, 123])}
    crowd = sampled_frames(data_dir / "video" / "multiface" / "facenet_video.mp4", 1)[0]
    pictures = [portrait, cv2.resize(crowd, (512, 512)), np.ascontiguousarray(portrait[::-1])]
    detector = load_detector("mobilenet0.25", mobilenet, options=DetectorOptions(longest_side_px=512, quick=False))
    for faces, picture in zip(detector(pictures), pictures, strict=True):
        theirs = [a for a in model.predict_jsons(picture) if a["bbox"]]
        assert len(faces) == len(theirs)
        for their in theirs:
            ours = np.abs(faces.boxes_N4 - np.clip(their["bbox"], 0, 512)).sum(axis=1).argmin()
            assert faces.scores_N[ours] == pytest.approx(their["score"], abs=1e-3)
            assert truncates_to(faces.boxes_N4[ours], np.clip(their["bbox"], 0, 512))
    assert len(detector([portrait])[0]) == 1


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_lower_precision_finds_the_same_face(mobilenet, detector, portrait, precision):
    """As on a GPU, here in autocast on the CPU."""
    [exact], [close] = (
        found([portrait])
        for found in (detector, load_detector("mobilenet0.25", mobilenet, options=DetectorOptions(precision=precision)))
    )
    assert len(close) == len(exact) == 1
    side_px = exact.boxes_N4[0, 3] - exact.boxes_N4[0, 1]
    assert np.abs(exact.boxes_N4 - close.boxes_N4).max() < 0.02 * side_px
    with pytest.raises(ValueError, match="precision 'half' is not known"):
        load_detector("mobilenet0.25", mobilenet, options=DetectorOptions(precision="half"))([portrait])


def truncates_to(values: np.ndarray, integers: np.ndarray, tolerance: float = 0.02) -> bool:
    """The package cuts its coordinates to whole pixels, towards zero."""
    return bool(((np.trunc(values - tolerance) <= integers) & (integers <= np.trunc(values + tolerance))).all())


def test_where_the_package_finds_no_face_there_are_empty_arrays(package_model):
    detector = load_detector(
        "resnet50",
        saved(package_model.model.state_dict()),
        options=DetectorOptions(longest_side_px=SIDE_PX, threshold=0.9999),
    )
    assert package_model.predict_jsons(noise_picture(1), confidence_threshold=0.9999)[0]["bbox"] == []
    [faces] = detector([noise_picture(1)])
    assert (faces.boxes_N4.shape, faces.scores_N.shape, faces.landmarks_N52.shape) == ((0, 4), (0,), (0, 5, 2))
    assert faces.boxes_N4.dtype == faces.scores_N.dtype == faces.landmarks_N52.dtype == np.float32


@pytest.mark.parametrize(("height", "width"), [(64, 64), (90, 161), (180, 320)])
def test_priors_are_those_of_the_package(height, width):
    theirs = priorbox([[16, 32], [64, 128], [256, 512]], [8, 16, 32], False, (height, width)).numpy()
    np.testing.assert_allclose(prior_boxes(height, width), theirs * [width, height, width, height], atol=1e-3)


@pytest.mark.parametrize(
    "clip",
    [
        "labelled/EAMM_MEAD_contempt.mp4",
        "labelled/MEAD_W036_level_3_happy_007.mp4",
        "multiface/AniPortrait_panels_jijin.mp4",
        "unlabelled/LivePortrait_source_s13.mp4",
        "odd/torchcodec_testsrc2_odd_height_and_width_vp9.mp4",
    ],
)
def test_number_of_faces(detector, data_dir, clip):
    check_number_of_faces(detector, data_dir / "video", clip, most_frames=5)


@pytest.mark.slow
def test_number_of_faces_in_all_clips(detector, data_dir):
    with open(data_dir / "video" / "manifest.csv") as file:
        clips = [row["file"] for row in csv.DictReader(file) if row["faces_median"] and row["ffmpeg_decode"] == "ok"]
    assert len(clips) > 40
    for clip in clips:
        check_number_of_faces(detector, data_dir / "video", clip, most_frames=20)


def check_number_of_faces(detector, folder: Path, clip: str, most_frames: int) -> None:
    """In groups of three and more the faces at the edge of what can be seen are one more or less."""
    with open(folder / "manifest.csv") as file:
        counted = next(float(row["faces_median"]) for row in csv.DictReader(file) if row["file"] == clip)
    found = np.median([len(faces) for faces in detector(sampled_frames(folder / clip, most_frames))])
    assert found == counted or (counted > 2 and abs(found - counted) <= 1), clip


def test_a_face_does_not_depend_on_its_neighbours_in_the_batch(detector, portrait):
    wide = cv2.copyMakeBorder(portrait, 0, 0, 300, 40, cv2.BORDER_REPLICATE)
    empty = np.full((240, 320, 3), 127, np.uint8)
    frames = [portrait, wide, empty, portrait[:, ::-1], cv2.resize(portrait, (200, 200)), portrait]
    together = detector(frames)
    assert [len(faces) for faces in together] == [1, 1, 0, 1, 1, 1]
    for faces, frame in zip(together, frames, strict=True):
        [alone] = detector([frame])
        np.testing.assert_allclose(faces.boxes_N4, alone.boxes_N4, atol=0.05)
        np.testing.assert_allclose(faces.scores_N, alone.scores_N, atol=1e-3)
    np.testing.assert_allclose(together[1].boxes_N4[0] - [300, 0, 300, 0], together[0].boxes_N4[0], atol=15)


def test_a_picture_twice_the_size_has_boxes_twice_the_size(detector, portrait):
    small = cv2.resize(portrait, (320, 320), interpolation=cv2.INTER_AREA)
    large = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)
    [of_small], [of_large] = detector([small]), detector([large])
    np.testing.assert_allclose(of_large.boxes_N4, 2 * of_small.boxes_N4, atol=3)
    np.testing.assert_allclose(of_large.landmarks_N52, 2 * of_small.landmarks_N52, atol=3)


def test_small_faces_get_the_closer_look(detector, mobilenet, portrait):
    """Two faces of 50 pixels in a frame of 1280: 12 pixels, invisible, at the first look, 25 at the second."""
    face = cv2.resize(portrait, (80, 80), interpolation=cv2.INTER_AREA)
    scene = np.full((720, 1280, 3), 90, np.uint8)
    scene[300:380, 200:280] = scene[300:380, 900:980] = face
    assert len(load_detector("mobilenet0.25", mobilenet, options=DetectorOptions(longest_side_px=320))([scene])[0]) == 0
    [faces] = detector([scene])
    assert len(faces) == 2


def test_boxes_stay_inside_the_frame_and_the_most_confident_comes_first(detector, portrait):
    scene = np.concatenate([portrait[:, 200:], portrait[:, :300]], axis=1)
    [faces] = detector([scene])
    height, width = scene.shape[:2]
    assert len(faces) >= 1
    assert (faces.boxes_N4 >= 0).all() and (faces.boxes_N4 <= [width, height, width, height]).all()
    assert (np.diff(faces.scores_N) <= 0).all()


def test_landmarks_lie_in_the_face_in_their_order(detector, portrait):
    [faces] = detector([portrait])
    left_eye, right_eye, nose, left_mouth, right_mouth = faces.landmarks_N52[0]
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_fingerprint_names_the_network_and_its_weights(detector, mobilenet):
    assert detector.fingerprint == f"mobilenet0.25@{hashlib.sha256(mobilenet).hexdigest()}"


def test_weights_saved_from_data_parallel_are_accepted(mobilenet, detector, portrait):
    state = torch.load(io.BytesIO(mobilenet), map_location="cpu", weights_only=True)
    wrapped = load_detector("mobilenet0.25", saved({f"module.{name}": tensor for name, tensor in state.items()}))
    np.testing.assert_array_equal(wrapped([portrait])[0].boxes_N4, detector([portrait])[0].boxes_N4)


def network_state(without: str = "nothing") -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in MobileNetRetinaFace().state_dict().items() if without not in name}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda: b"<html>404</html>", "16 bytes.*no PyTorch checkpoint"),
        (lambda: saved([1, 2]), "no state dict but a list"),
        (lambda: saved({"epoch": 3}), "no state dict but keys"),
        (lambda: saved(network_state("ClassHead.0")), r"2 missing \(ClassHead.0.conv1x1.weight"),
        (lambda: saved(network_state() | {"fc.weight": torch.zeros(2)}), r"1 unexpected \(fc.weight"),
        (lambda: saved(network_state() | {"fpn.output1.1.bias": torch.zeros(9)}), r"bias \(9,\) instead of \(64,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_what_disagrees(weights, message):
    with pytest.raises(ValueError, match=message):
        load_detector("mobilenet0.25", weights())


def test_unknown_network_and_wrong_frames_are_refused(detector):
    with pytest.raises(ValueError, match="'yolo'.*mobilenet0.25.*resnet50"):
        load_detector("yolo", b"")
    with pytest.raises(ValueError, match="frame 1 is float32"):
        detector([np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.float32)])


def test_given_boxes_count_as_certain():
    faces = Faces.given(np.array([[1, 2, 3, 4]]))
    assert faces.scores_N.tolist() == [1.0] and faces.boxes_N4.dtype == np.float32
