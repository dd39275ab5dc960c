"""The pyramid in two steps against the package's forward pass, and what a quick detector leaves out by it."""

import av
import cv2
import numpy as np
import pytest
import torch
from retinaface.network import RetinaFace

from modeling.faces.retinaface import DetectorOptions, FaceDetector, load_detector
from modeling.faces.retinaface_network import MobileNetRetinaFace
from modeling.faces.retinaface_pyramid import answers_where_needed

DETECTOR = "weights/retinaface/mobilenet0.25_Final.pth"


def random_network(name: str) -> RetinaFace:
    torch.manual_seed(3)
    if name == "mobilenet0.25":
        return MobileNetRetinaFace().eval()
    return RetinaFace("Resnet50", False, 256, {"layer2": 1, "layer3": 2, "layer4": 3}, 256).eval()


@pytest.fixture(scope="module")
def detector(data_dir) -> FaceDetector:
    return load_detector("mobilenet0.25", (data_dir / DETECTOR).read_bytes())


@pytest.fixture(scope="module")
def face(data_dir) -> np.ndarray:
    """A portrait cut to its face, square."""
    with av.open(str(data_dir / "video" / "unlabelled" / "LivePortrait_driving_d10.mp4")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    detector = load_detector("mobilenet0.25", (data_dir / DETECTOR).read_bytes(), options=DetectorOptions(quick=False))
    left, top, right, bottom = detector([picture])[0].boxes_N4[0].astype(int)
    centre_x, centre_y, half = (left + right) // 2, (top + bottom) // 2, (bottom - top) // 2
    return picture[centre_y - half : centre_y + half, centre_x - half : centre_x + half]


@pytest.mark.filterwarnings("ignore::UserWarning")  # the package names torchvision's weights in the deprecated way
@pytest.mark.parametrize("name", ["mobilenet0.25", "resnet50"])
@pytest.mark.parametrize("height, width", [(64, 96), (75, 101)])
@torch.inference_mode()
def test_both_steps_give_the_answers_of_the_package(name, height, width):
    network = random_network(name)
    frames_BCHW = torch.randn(3, 3, height, width)
    whole = network(frames_BCHW)
    needy_B = torch.tensor([True, False, True])
    answers = answers_where_needed(network, frames_BCHW, lambda coarser: needy_B)
    for ours, theirs in zip(answers, whole, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours[needy_B], theirs[needy_B])
    finest = 2 * -(-height // 8) * -(-width // 8)
    for ours, theirs in zip(answers, whole, strict=True):
        torch.testing.assert_close(ours[1, finest:], theirs[1, finest:])
    assert (answers[1][1, :finest].softmax(dim=-1) == torch.tensor([1.0, 0.0])).all()
    none = answers_where_needed(network, frames_BCHW, lambda coarser: torch.zeros(3, dtype=torch.bool))
    assert all(answer.isfinite().all() for answer in (none[0], none[2]))


def scene(*faces: np.ndarray) -> np.ndarray:
    """Faces side by side in a grey frame of 320 x 200."""
    frame = np.full((200, 320, 3), 90, np.uint8)
    left = 10
    for face in faces:
        height, width = face.shape[:2]
        frame[20 : 20 + height, left : left + width] = face
        left += width + 20
    return frame


def scaled(face: np.ndarray, side_px: int) -> np.ndarray:
    return cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("side_px", [32, 40, 56])
def test_a_small_face_is_found_where_no_large_one_is(detector, face, side_px):
    """Also in the same batch as a frame that needs the coarser levels only."""
    small, large = detector([scene(scaled(face, side_px)), scene(scaled(face, 160))])
    assert len(small) == len(large) == 1
    assert np.ptp(small.boxes_N4[0].reshape(2, 2), axis=0).max() == pytest.approx(side_px, rel=0.35)


def test_a_rival_of_half_the_area_is_found_beside_a_large_face(detector, face):
    [faces] = detector([scene(scaled(face, 100), scaled(face, 72))])
    assert len(faces) == 2


def test_a_large_face_is_the_one_of_the_whole_network(data_dir, detector, face):
    whole = load_detector("mobilenet0.25", (data_dir / DETECTOR).read_bytes(), options=DetectorOptions(quick=False))
    frames = [scene(scaled(face, side_px)) for side_px in (90, 120, 160)]
    for quick, slow in zip(detector(frames), whole(frames), strict=True):
        np.testing.assert_allclose(quick.boxes_N4, slow.boxes_N4, atol=0.05)
        np.testing.assert_allclose(quick.scores_N, slow.scores_N, atol=1e-3)
