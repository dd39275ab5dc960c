"""Face detection in batches: RetinaFace with cached priors and post-processing on the device.

Shape letters: B frames of one scaled size, H, W pixels, P priors, N faces, K = 10 landmark numbers; _N4: box sides.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from retinaface.box_utils import decode, decode_landm
from torch import Tensor
from torchvision.ops import batched_nms

from modeling.faces.detections import Faces
from modeling.faces.retinaface_network import VARIANTS, load_network, prior_boxes
from modeling.faces.retinaface_pyramid import RawDetections, answers_where_needed
from modeling.layers import channels_last
from modeling.precision import autocast

VARIANCES = (0.1, 0.2)
"""Units of the predicted centre and of the predicted log size (retinaface-pytorch predict_single.py)."""

FRAMES_PER_BATCH = 8
"""Larger batches gain nothing on a CPU (measured: 1, 4, 8, 16)."""

QUICK_SIDE_PX = 320
"""Longest side of a frame in the detector's first, quick pass."""

QUICK_FACE_PX = 48
"""If the quick pass finds no face of this side (in its own pixels), the frame gets a second pass at full resolution.

A second face makes the choice ambiguous if it has half the area of this one (`pipeline.labelling.face_tracks`), so a side
of at least 34 pixels here, which the quick pass also finds: over 25 frames of each of 41 clips, its median number of faces
equals that at 640 pixels in every clip but one, whose faces are all below 20 pixels. Detection then takes 14 ms per frame,
against 30 ms when always at 640 pixels, and 56 ms with smaller frames scaled up as the package does (mean of 1,010 frames,
one busy core). The boxes overlap those at 640 pixels by about 0.9, and a teacher is right as often (42 against 41 % of 287
frames).
"""

LARGE_FACE_PX = 80
"""If the coarser levels of the quick pass find a face of this side (in its own pixels), the finest level is not computed.

A face that makes the choice ambiguous then has a side of at least 56 pixels. Of 205 faces of 41 clips, scaled to 44, 48, 56
and 64 pixels, the coarser levels find 39, 140, 200 and 200; the whole network finds 202 or more at each size.
"""


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """longest_side_px: larger frames are reduced to it. The thresholds are the package's. precision: see
    `modeling.precision`. quick: whether there is a first pass at `QUICK_SIDE_PX`; None: only for the small network. Without
    it, boxes equal those of the package's `predict_jsons` for square pictures of at least longest_side_px (the package
    pads others, and enlarges small ones).
    """

    longest_side_px: int = 640
    threshold: float = 0.7
    nms_threshold: float = 0.4
    precision: str = "auto"
    quick: bool | None = None


USUAL = DetectorOptions()


def load_detector(
    name: str, weights: bytes, *, device: str = "cpu", options: DetectorOptions = USUAL
) -> "FaceDetector":
    """name: "mobilenet0.25" or "resnet50"; weights: the bytes of its checkpoint.

    Raises ValueError if the name is unknown or the weights do not fit (`modeling.faces.retinaface_network.load_network`).
    """
    return FaceDetector(name, weights, device=device, options=options)


class FaceDetector:
    """Frames in, faces out. `fingerprint` identifies the network and its weights, for the origin of every label.

    Network time of MobileNet-0.25 in ms per frame (one thread of a busy 2-core Xeon, batches of 8): 640x640 46, 512x512 28,
    640x360 22, 256x256 8, 224x224 5. Folded batch norms and the channels_last layout together save a third to a half.
    Tried without gain: bfloat16 and torch.jit.optimize_for_inference (both twice as slow without AMX), 1x1 convolutions
    as matrix products (equal), torch.jit.freeze (5 to 10 %, not worth a trace for each device).
    """

    def __init__(self, name: str, weights: bytes, *, device: str, options: DetectorOptions):
        self.network = channels_last(load_network(name, weights).to(device))
        self.fingerprint = f"{name}@{hashlib.sha256(weights).hexdigest()}"
        self.longest_side_px = options.longest_side_px
        self.threshold, self.nms_threshold = options.threshold, options.nms_threshold
        self.precision = options.precision
        self.quick = VARIANTS[name].quick if options.quick is None else options.quick
        self.quick_side_px = min(QUICK_SIDE_PX, self.longest_side_px) if self.quick else self.longest_side_px
        self.device = torch.device(device)
        self._mean_C = torch.tensor(VARIANTS[name].mean, device=device)
        self._priors_of_size: dict[tuple[int, int], Tensor] = {}

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Faces]:
        """frames: H x W x 3 uint8 RGB, of any sizes -> one `Faces` for each, in order.

        A quick detector reduces every frame to `QUICK_SIDE_PX`, and only where it finds no face of `QUICK_FACE_PX` again to
        `longest_side_px`; others reduce to `longest_side_px` at once. Frames are never enlarged, which costs time and finds
        no more. Next to a face of `LARGE_FACE_PX`, a quick detector may miss faces below 56 pixels. Frames of one reduced
        size share batches without padding, so a face does not depend on the other frames of its batch.
        """
        for index, frame in enumerate(frames):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise ValueError(f"frame {index} is {frame.dtype} {frame.shape}; give uint8 RGB pictures (H, W, 3)")
        quick_px = self.quick_side_px
        faces = self._detect_all(dict(enumerate(frames)), quick_px)
        if quick_px < self.longest_side_px:
            unclear = {i: f for i, f in enumerate(frames) if _needs_closer_look(faces[i], max(f.shape[:2]), quick_px)}
            faces |= self._detect_all(unclear, self.longest_side_px)
        return [faces[index] for index in range(len(frames))]

    def _detect_all(self, frames: dict[int, np.ndarray], longest_side_px: int) -> dict[int, Faces]:
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, frame in frames.items():
            height, width = frame.shape[:2]
            by_size[scaled_size(height, width, longest_side_px)].append(index)
        faces: dict[int, Faces] = {}
        for size, members in by_size.items():
            for start in range(0, len(members), FRAMES_PER_BATCH):
                batch = members[start : start + FRAMES_PER_BATCH]
                faces.update(zip(batch, self._detect([frames[i] for i in batch], size), strict=True))
        return faces

    @torch.inference_mode()
    def _detect(self, frames: Sequence[np.ndarray], size: tuple[int, int]) -> Iterator[Faces]:
        scaled = np.stack([_resized(frame, size) for frame in frames])
        with autocast(self.device, self.precision):
            outputs = self._answers(self._centred(scaled), size)
        offsets_BP4, logits_BP2, landmarks_BPK = (output.float() for output in outputs)
        scores_BP = logits_BP2.softmax(dim=-1)[..., 1]
        frame_N, prior_N = torch.nonzero(scores_BP > self.threshold, as_tuple=True)
        scores_N = scores_BP[frame_N, prior_N]
        priors_N4 = self._priors(size)[prior_N]
        boxes_N4 = decode(offsets_BP4[frame_N, prior_N], priors_N4, VARIANCES)
        keep = batched_nms(boxes_N4, scores_N, frame_N, self.nms_threshold)
        landmarks_NK = decode_landm(landmarks_BPK[frame_N[keep], prior_N[keep]], priors_N4[keep], VARIANCES)
        kept = (frame_N[keep], boxes_N4[keep], scores_N[keep], landmarks_NK.reshape(-1, 5, 2))
        frame_N, boxes_N4, scores_N, landmarks_N52 = (tensor.cpu().numpy() for tensor in kept)
        for index, frame in enumerate(frames):
            of_N = frame_N == index
            faces = Faces(boxes_N4[of_N], scores_N[of_N], landmarks_N52[of_N])
            yield _in_frame(faces, frame.shape[:2], size)

    def _answers(self, frames_BCHW: Tensor, size: tuple[int, int]) -> RawDetections:
        if not self.quick or max(size) > self.quick_side_px:
            return self.network(frames_BCHW)

        def shows_no_large_face(coarser: RawDetections) -> Tensor:
            offsets_BP4, logits_BP2 = coarser[0].float(), coarser[1].float()
            priors_P4 = self._priors(size)[-offsets_BP4.shape[1] :]
            sides_BP = (priors_P4[:, 2:] * torch.exp(offsets_BP4[..., 2:] * VARIANCES[1])).amax(dim=-1)
            is_face_BP = logits_BP2.softmax(dim=-1)[..., 1] > self.threshold
            return ~(is_face_BP & (sides_BP >= LARGE_FACE_PX)).any(dim=1)

        return answers_where_needed(self.network, frames_BCHW, shows_no_large_face)

    def _centred(self, frames_BHWC: np.ndarray) -> Tensor:
        """float32 (B, C, H, W) in the channels_last layout, minus the mean. The frames go to the device as bytes.

        The mean is subtracted from whole rows: with the three channels as the innermost axis it takes four times as long.
        """
        batch, height, width, channels = frames_BHWC.shape
        rows = torch.from_numpy(frames_BHWC).to(self.device).float().view(batch, height, width * channels)
        return rows.sub_(self._mean_C.repeat(width)).view(frames_BHWC.shape).permute(0, 3, 1, 2)

    def _priors(self, size: tuple[int, int]) -> Tensor:
        if size not in self._priors_of_size:
            self._priors_of_size[size] = torch.from_numpy(prior_boxes(*size)).to(self.device)
        return self._priors_of_size[size]


def _needs_closer_look(faces: Faces, frame_side_px: int, quick_side_px: int) -> bool:
    """Whether the quick pass reduced the frame and found no large face in it."""
    sides = (faces.boxes_N4[:, 2:] - faces.boxes_N4[:, :2]).max(axis=1)
    return frame_side_px > quick_side_px and not (sides * (quick_side_px / frame_side_px) >= QUICK_FACE_PX).any()


def scaled_size(height: int, width: int, longest_side_px: int) -> tuple[int, int]:
    """Height and width of a frame after its longest side is reduced to longest_side_px; smaller frames keep their size."""
    scale = min(1, longest_side_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Linear interpolation, as in the package (albumentations' LongestMaxSize)."""
    return frame if frame.shape[:2] == size else cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)


def _in_frame(faces: Faces, frame_size: tuple[int, ...], scaled: tuple[int, int]) -> Faces:
    """Converts faces from pixels of the scaled frame to pixels of the given frame, and clips the boxes to it."""
    frame_xy = np.array(frame_size[::-1], np.float32)
    to_frame_xy = frame_xy / np.array(scaled[::-1], np.float32)
    boxes_N4 = (faces.boxes_N4.reshape(-1, 2, 2) * to_frame_xy).clip(0, frame_xy).reshape(-1, 4)
    landmarks_N52 = None if faces.landmarks_N52 is None else faces.landmarks_N52 * to_frame_xy
    return Faces(boxes_N4, faces.scores_N, landmarks_N52)
