"""From an utterance to the crops of one face and its speech: decode, detect, track, choose, crop, in one operator.

Frames live and die inside this operator; what leaves it are small crops and FLAC.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import ray
from ray.actor import ActorHandle

from cluster.devices import work_clock
from cluster.tally import MAX_DEATHS, Meter
from modeling.distillation.targets import window_span
from modeling.faces.crops import centre_crop_fraction, square_crops
from modeling.faces.detections import Faces
from modeling.sampling import WINDOW_SAMPLES
from modeling.teachers.base import CropRule
from pipeline.assets.weights import Weights
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.decoding.requests import DecodedUtterance, DecodeRequest
from pipeline.labelling.canvas import Canvas
from pipeline.labelling.crop_options import CropOptions
from pipeline.labelling.face_tracks import FaceTrack, choose_track, link_faces, shot_cuts
from pipeline.labelling.sparse_detection import find_faces
from pipeline.media.flac import encode_flac
from pipeline.media.frames import SampledFrames
from pipeline.media.pictures import jpeg
from pipeline.media.source_files import SourceFiles
from pipeline.media.speech import require_speech
from pipeline.rejects import Rejected, RejectReason, blaming
from pipeline.schema import DISTILLATION_SCHEMA

CROPPED_SCHEMA = DISTILLATION_SCHEMA.append(pa.field("crops", pa.binary()))
"""The distillation row on its way: crops are n x side x side (x 3) uint8, the teacher's columns are still null."""

SOUND_REASONS = (RejectReason.NO_AUDIO_STREAM, RejectReason.DAMAGED_AUDIO)
THUMBNAIL_SIDE_PX = 72
THUMBNAIL_QUALITY = 80
THUMBNAIL_SCALE = 1.3
"""Side of a thumbnail, relative to the longer side of the face's box."""

ROWS_HANDED_OUT = 8
"""Rows that leave together: few enough that the sound of an hour's utterances never waits here."""


@dataclass(frozen=True)
class _Cropped:
    """The columns of a row on its way to the teacher, or of a reject. `has_media`: frames and sound were usable, so that a
    reject is one of the faces."""

    columns: dict
    has_media: bool


class FaceCropper:
    """Ray Data callable: manifest rows -> tables of `CROPPED_SCHEMA`, handed out as they get ready; a bad item becomes a
    reject row."""

    def __init__(
        self,
        *,
        options: CropOptions,
        crop_rule: CropRule,
        detector: ray.ObjectRef,
        device: str = "cpu",
        tally: ActorHandle | None = None,
    ):
        from modeling.faces.retinaface import load_detector  # brings torchvision, 125 MB that a driver does without

        weights: Weights = ray.get(detector)
        self.options = options
        self.crop_rule = crop_rule
        self.detector = load_detector(weights.name, weights.data, device=device)
        self.decoder = IsolatedDecoder(options.deadline)
        self.decoder.start()
        cv2.setNumThreads(1)  # one worker, one core
        self.meter = Meter(tally)
        self.clock = work_clock(device)
        self.device_errors = (RuntimeError,) if device.startswith("cuda") else ()  # a GPU that fails is no file's fault

    def __call__(self, utterances: pa.Table) -> Iterator[pa.Table]:
        rows = utterances.to_pylist()
        deadly = self.meter.begin(_task_name(rows))
        ready: list[dict] = []
        with SourceFiles([(row["video_uri"], row["audio_uri"]) for row in rows]) as sources:
            for row, decoded in self._decoded_ahead(rows, sources):
                self.meter.take_up(row["utterance_id"])
                cropped = _died(row) if row["utterance_id"] in deadly else self._cropped(row, decoded)
                self._count(cropped, decoded)
                ready.append(cropped.columns)
                if len(ready) == ROWS_HANDED_OUT:
                    self.meter.put_down()
                    yield pa.Table.from_pylist(ready, schema=CROPPED_SCHEMA)
                    ready = []
        self.meter.count("fetch", len(rows), seconds=sources.seconds, size_bytes=sources.size_bytes)
        self.meter.end()
        if ready or not rows:
            yield pa.Table.from_pylist(ready, schema=CROPPED_SCHEMA)

    def _count(self, cropped: _Cropped, decoded: DecodedUtterance | Rejected) -> None:
        columns = cropped.columns
        pixels = sum(image.nbytes for image in decoded.frames.images) if isinstance(decoded, DecodedUtterance) else 0
        self.meter.count("decode", 1, int(not cropped.has_media), columns.get("decode_s") or 0.0, pixels)
        if cropped.has_media:
            is_rejected = int("reject_reason" in columns)
            self.meter.count("faces", 1, is_rejected, columns.get("detect_s") or 0.0, len(columns.get("crops", b"")))

    def _decoded_ahead(
        self, rows: list[dict], sources: SourceFiles
    ) -> Iterator[tuple[dict, DecodedUtterance | Rejected]]:
        """Each row with its decoded media; the next row's decoding has begun when this one is handed out."""
        waiting: tuple[dict, DecodeRequest | Rejected] | None = None
        for row in [*rows, None]:
            ready = None if waiting is None else (waiting[0], self._decoded(waiting[1]))
            waiting = None if row is None else (row, self._submitted(row, sources))
            if ready is not None:
                yield ready

    def _submitted(self, row: dict, sources: SourceFiles) -> DecodeRequest | Rejected:
        """The request that the decoder now works on, or why there is none."""
        try:
            request = DecodeRequest(
                video_path=sources.path(row["video_uri"]),
                audio_path=sources.path(row["audio_uri"]),
                start_s=row["start_s"],
                end_s=row["end_s"],
                # boxes in pixels are those of the frame as it was, so it must not be scaled
                longest_side_px=None if row["face_boxes_unit"] == "pixels" else self.options.longest_side_px,
                decoder=self.options.decoder,
                pictures_per_s=row["pictures_per_s"],
            )
        except Rejected as problem:
            return problem
        self.decoder.submit(request)
        return request

    def _decoded(self, submitted: DecodeRequest | Rejected) -> DecodedUtterance | Rejected:
        """What became of the request; once more without the sound, where that alone is the problem and it is not needed."""
        if isinstance(submitted, Rejected):
            return submitted
        try:
            return self.decoder.result()
        except Rejected as problem:
            if not self.options.without_speech or problem.reason not in SOUND_REASONS or not submitted.speech:
                return problem
        faces_only = dataclasses.replace(submitted, speech=False)
        self.decoder.submit(faces_only)
        return self._decoded(faces_only)

    def _cropped(self, row: dict, decoded: DecodedUtterance | Rejected) -> _Cropped:
        try:
            if isinstance(decoded, Rejected):
                raise decoded
            speech_columns = self._speech_columns(decoded)
        except Rejected as problem:
            self._tell(row, problem)
            return _Cropped(_rejected(row, problem), has_media=False)
        try:
            with blaming(RejectReason.DAMAGED_VIDEO, but=self.device_errors):
                return _Cropped(_identity(row) | speech_columns | self._face_columns(row, decoded), has_media=True)
        except Rejected as problem:
            self._tell(row, problem)
            return _Cropped(_rejected(row, problem), has_media=True)

    def _tell(self, row: dict, problem: Rejected) -> None:
        if problem.trace:
            self.meter.tell(f"{row['utterance_id']}: {problem}\n{problem.trace}")

    def _speech_columns(self, decoded: DecodedUtterance) -> dict:
        speech = decoded.speech
        if not self.options.without_speech:
            assert speech is not None, "the sound is left out only where the options allow rows without"
            require_speech(speech)
        return {
            "decode_s": decoded.decode_s,
            "speech_flac": encode_flac(speech) if speech is not None and len(speech) else None,
            "speech_samples": 0 if speech is None else len(speech),
        }

    def _face_columns(self, row: dict, decoded: DecodedUtterance) -> dict:
        start = self.clock()
        frames = decoded.frames
        canvas = Canvas(frames.images)
        cuts = shot_cuts(frames.images)
        tracks = link_faces(self._faces(row, frames, cuts, canvas), frames.indices, cuts)
        if not tracks:
            raise Rejected(RejectReason.NO_FACE, f"no face in {len(frames.images)} sampled frames")
        chosen, ambiguous = choose_track(tracks, len(frames.images))
        track = tracks[chosen]
        _require_face_with_sound(track, decoded.speech)
        at = np.searchsorted(frames.indices, track.frame_indices)
        images = [frames.images[i] for i in at]
        boxes = [canvas.cut_from(image, box) for image, box in zip(images, track.boxes_N4, strict=True)]
        crops = np.concatenate(
            [
                square_crops(image, box[None], self._crop_scale(row), self.crop_rule.side_px, self.crop_rule.grey)
                for image, box in zip(images, boxes, strict=True)
            ]
        )
        return {
            "crops": crops.tobytes(),
            "frame_indices": track.frame_indices,
            "frame_times_s": frames.times_s[at],
            "frame_boxes": canvas.relative(track.boxes_N4).tolist(),
            "frame_scores": track.scores,
            "frames_sampled": len(frames.images),
            "face_tracks": [_track_row(each, canvas) for each in tracks],
            "labelled_track": chosen,
            "face_is_ambiguous": ambiguous,
            **self._thumbnail_columns(images, boxes, frames.times_s[at]),
            "detector": self._face_source(row),
            "detect_s": self.clock() - start,
        }

    def _faces(self, row: dict, frames: SampledFrames, cuts: np.ndarray, canvas: Canvas) -> list[Faces]:
        """Faces of each frame on the canvas: the whole-frame rule for face tracks, given boxes, or the detector."""
        if row["face_context"] is None and not row["face_boxes"]:
            detect = canvas.detecting(self.detector)
            return find_faces(frames.images, cuts, detect, detection_stride=self.options.look_every)
        if row["face_context"] is not None:
            given = [Faces.given(centre_crop_fraction(image, row["face_context"])) for image in frames.images]
        else:
            timed = zip(frames.times_s, frames.images, strict=True)
            given = [_given_box(row, time_s, image) for time_s, image in timed]
        return [canvas.placed(*found) for found in zip(given, frames.images, strict=True)]

    def _face_source(self, row: dict) -> str:
        if row["face_context"] is not None:
            return f"face track with context {row['face_context']:g}"
        return "manifest boxes" if row["face_boxes"] else self.detector.fingerprint

    def _crop_scale(self, row: dict) -> float:
        """A face track is cut as the published teachers were fed, to the box in its middle; any other box gets the rule."""
        return 1.0 if row["face_context"] is not None else self.crop_rule.scale

    def _thumbnail_columns(self, images: list[np.ndarray], boxes: list[np.ndarray], times_s: np.ndarray) -> dict:
        chosen = np.unique(
            np.linspace(0, len(images) - 1, min(self.options.thumbnails, len(images))).round().astype(int)
        )
        return {
            "thumbnails": [_thumbnail(images[i], boxes[i]) for i in chosen],
            "thumbnail_times_s": times_s[chosen],
        }


def _task_name(rows: list[dict]) -> str:
    """The same for a task that a new worker takes up again."""
    return rows[0]["utterance_id"] if rows else ""


def _identity(row: dict) -> dict:
    return {name: row[name] for name in DISTILLATION_SCHEMA.names if name in row}


def _rejected(row: dict, problem: Rejected) -> dict:
    return _identity(row) | {"reject_reason": problem.reason.value, "reject_detail": problem.detail}


def _died(row: dict) -> _Cropped:
    detail = f"{MAX_DEATHS} worker processes died while they worked on it"
    return _Cropped(_rejected(row, Rejected(RejectReason.WORKER_DIED, detail)), has_media=True)


def _require_face_with_sound(track: FaceTrack, speech_T: np.ndarray | None) -> None:
    """Raises Rejected FACE_AFTER_SPEECH where the sound ends before the face appears: no training window could hold both."""
    if speech_T is not None and len(speech_T):
        last = window_span(max(0, len(speech_T) - WINDOW_SAMPLES))[1]
        if track.frame_indices[0] > last:
            detail = f"the face appears at grid position {track.frame_indices[0]}, the sound ends at {last}"
            raise Rejected(RejectReason.FACE_AFTER_SPEECH, detail)


def _given_box(row: dict, time_s: float, image: np.ndarray) -> Faces:
    """The manifest's box that is nearest in time, in pixels of the decoded frame."""
    nearest = min(row["face_boxes"], key=lambda box: abs(box["time_s"] - time_s))
    box = np.array([[nearest[side] for side in ("x0", "y0", "x1", "y1")]], np.float32)
    if row["face_boxes_unit"] == "relative":
        box *= np.tile(np.array(image.shape[1::-1], np.float32), 2)
    return Faces.given(box)


def _track_row(track: FaceTrack, canvas: Canvas) -> dict:
    return {
        "frame_indices": track.frame_indices,
        "boxes": canvas.relative(track.boxes_N4).tolist(),
        "scores": track.scores,
    }


def _thumbnail(image: np.ndarray, box_4: np.ndarray) -> bytes:
    crop = square_crops(image, box_4[None], THUMBNAIL_SCALE, THUMBNAIL_SIDE_PX, grey=False, rough=True)[0]
    return jpeg(crop, THUMBNAIL_QUALITY)
