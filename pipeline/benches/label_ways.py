"""What `bench label` compares labelling with: the floor (bare networks and decoder on the same files) and the peer (a plain
script, the obvious first version)."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa

from modeling.distillation.targets import aggregate
from modeling.faces.crops import square_crops
from modeling.faces.retinaface import load_detector
from modeling.faces.retinaface_network import load_network
from modeling.sampling import FRAME_STRIDE, SAMPLE_RATE_HZ
from modeling.teachers.load import Teacher, load_teacher
from pipeline.assets.weights import Weights
from pipeline.labelling.face_tracks import choose_track, link_faces, shot_cuts
from pipeline.labelling.sparse_detection import find_faces
from pipeline.media.flac import encode_flac
from pipeline.media.frames import FrameRequest, sample_frames
from pipeline.media.speech import read_speech, require_speech
from pipeline.rejects import Rejected

DETECTOR_SIDE_PX = 640
MEAN_BGR = np.array([104, 117, 123], np.float32)


class Floor:
    """The bare work on one file, step by step, on one thread: seconds of `plain_decode` (a plain loop over PyAV),
    `sampled_decode` (the project's sampling), `plain_sound`, `speech`, `detect` and `teacher`, and how many `frames` were
    sampled and `faces` labelled."""

    def __init__(self, detector: Weights, teacher: Weights):
        one_thread()
        self.detector = load_detector(detector.name, detector.data)
        self.teacher = load_teacher(teacher.name, teacher.data, teacher.description, flip_tta=False)  # as in the job

    def __call__(self, path: str) -> dict[str, float]:
        spent: defaultdict[str, float] = defaultdict(float)
        crops: list[np.ndarray] = []

        def timed(name: str, work: Callable[..., Any], *arguments: Any) -> Any:
            start = time.perf_counter()
            result = work(*arguments)
            spent[name] += time.perf_counter() - start
            return result

        frames = timed("sampled_decode", sample_frames, path, FrameRequest())
        require_speech(timed("speech", read_speech, path, 0.0, None))
        timed("plain_decode", plain_decode, path)
        timed("plain_sound", plain_sound, path)
        cuts = shot_cuts(frames.images)
        faces = find_faces(frames.images, cuts, lambda images: timed("detect", self.detector, images))
        tracks = link_faces(faces, frames.indices, cuts)
        if tracks:
            track = tracks[choose_track(tracks, len(frames.images))[0]]
            at = np.searchsorted(frames.indices, track.frame_indices)
            rule = self.teacher.crop_rule
            crops = [
                square_crops(frames.images[i], box[None], rule.scale, rule.side_px, rule.grey)
                for i, box in zip(at, track.boxes_N4, strict=True)
            ]
            timed("teacher", self.teacher, np.concatenate(crops))
        return dict(spent) | {"frames": len(frames.images), "faces": len(crops)}


def one_thread() -> None:
    """Limits this process to one core, like the job's workers."""
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def plain_decode(path: str) -> int:
    """Decodes every frame, and every 6th to RGB: the loop in PyAV's documentation, on one thread."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frames = (frame for index, frame in enumerate(container.decode(stream)) if index % FRAME_STRIDE == 0)
        return sum(1 for frame in frames if frame.to_ndarray(format="rgb24").size)


def plain_sound(path: str) -> int:
    """Decodes the sound and resamples it to 16 kHz mono."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
    with av.open(path) as container:
        decoded = container.decode(container.streams.audio[0])
        return sum(out.samples for frame in decoded for out in resampler.resample(frame))


@dataclass(frozen=True)
class ScriptRun:
    """seconds: wall time; rows: utterances labelled; mb: size of the final table in 10^6 bytes."""

    seconds: float
    rows: int
    mb: float


def labelled_by_script(paths: Sequence[str], detector: Weights, teacher: Weights, device: str) -> ScriptRun:
    """A plain sequential script on all cores: decord, retinaface-pytorch's `predict_jsons` around the same small network, one
    teacher pass per frame, one table at the end; both networks on `device`."""
    model = package_predictor(detector, device)
    network = load_teacher(teacher.name, teacher.data, teacher.description, device=device, flip_tta=False)
    start = time.perf_counter()
    rows = [row for path in paths if (row := _script_row(path, model, network))]
    table = pa.Table.from_pylist(rows)
    return ScriptRun(time.perf_counter() - start, len(rows), round(table.nbytes / 1e6, 1))


def package_predictor(detector: Weights, device: str = "cpu"):
    """The package's predictor with the small network in place of its ResNet-50, whose weights are in no package."""
    from retinaface.predict_single import Model

    model = Model(max_size=DETECTOR_SIDE_PX, device=device)
    network = load_network(detector.name, detector.data).to(device)
    model.model = network
    model.transform = _network_input  # pyright: ignore[reportAttributeAccessIssue] (the package has no types)
    model.eval()
    return model


def _network_input(image: np.ndarray) -> dict:
    scale = DETECTOR_SIDE_PX / max(image.shape[:2])
    return {"image": cv2.resize(image, None, fx=scale, fy=scale).astype(np.float32) - MEAN_BGR[::-1]}


def _script_row(path: str, model: Any, teacher: Teacher) -> dict | None:
    import decord

    reader = decord.VideoReader(path, ctx=decord.cpu(0))
    rule, logits = teacher.crop_rule, []
    for index in range(0, len(reader), FRAME_STRIDE):
        frame = reader[index].asnumpy()
        faces = [face for face in model.predict_jsons(frame) if face["bbox"]]
        if faces:
            box = np.array(max(faces, key=lambda face: _area(face["bbox"]))["bbox"], np.float32)
            logits.append(teacher(square_crops(frame, box[None], rule.scale, rule.side_px, rule.grey))[0])
    try:
        speech = read_speech(path, 0.0, None)
        require_speech(speech)
    except Rejected:
        return None
    if not logits:
        return None
    return {"path": path, "logits": aggregate(np.stack(logits)), "speech": encode_flac(speech)}


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
