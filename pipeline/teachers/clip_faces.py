"""The faces of labelled clips as `label` sees them: decoded, detected, followed, one chosen, cropped. In this process.

Shape letters: K frames of a clip.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cluster.progress import progress
from modeling.faces.crops import square_crops
from modeling.teachers.base import CropRule
from pipeline.corpora.clip import CorpusClip
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.decoding.requests import DecodeRequest
from pipeline.labelling.canvas import Canvas
from pipeline.labelling.crop_options import CropOptions
from pipeline.labelling.face_tracks import FaceTrack, choose_track, link_faces, shot_cuts
from pipeline.labelling.sparse_detection import Detect, find_faces
from pipeline.media.frames import SampledFrames
from pipeline.media.source_files import SourceFiles
from pipeline.rejects import Rejected, RejectReason, blaming

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipFaces:
    """A clip and its face in each sampled frame: `crops` by crop scale; none for a clip that is set aside."""

    clip: CorpusClip
    crops: dict[float, np.ndarray]


def faces_of_clips(
    clips: Sequence[CorpusClip], detect: Detect, rule: CropRule, scales: Sequence[float]
) -> Iterator[ClipFaces]:
    """One for each clip, in order. A clip that cannot be used is set aside with its reason."""
    with IsolatedDecoder() as decoder, progress(len(clips), "clips", "clips") as bar:
        for clip in clips:
            yield clip_faces(clip, decoder, detect, rule, scales) if clip.reject_reason is None else ClipFaces(clip, {})
            bar.update()


def clip_faces(
    clip: CorpusClip, decoder: IsolatedDecoder, detect: Detect, rule: CropRule, scales: Sequence[float]
) -> ClipFaces:
    try:
        with blaming(RejectReason.DAMAGED_VIDEO):
            return ClipFaces(clip, _crops_by_scale(_frames(clip.uri, decoder), detect, rule, scales))
    except Rejected as problem:
        if problem.trace:
            log.warning("%s: %s\n%s", clip.uri, problem, problem.trace)
        return ClipFaces(replace(clip, reject_reason=problem.reason.value, reject_detail=problem.detail), {})


def _crops_by_scale(
    frames: SampledFrames, detect: Detect, rule: CropRule, scales: Sequence[float]
) -> dict[float, np.ndarray]:
    canvas = Canvas(frames.images)
    track = followed_face(frames, canvas.detecting(detect))
    images = [frames.images[index] for index in np.searchsorted(frames.indices, track.frame_indices)]
    boxes = [canvas.cut_from(image, box) for image, box in zip(images, track.boxes_N4, strict=True)]
    return {scale: _crops(images, boxes, replace(rule, scale=scale)) for scale in scales}


def followed_face(frames: SampledFrames, detect: Detect) -> FaceTrack:
    """The face that `label` would choose. Raises Rejected where there is none."""
    cuts_K = shot_cuts(frames.images)
    tracks = link_faces(find_faces(frames.images, cuts_K, detect), frames.indices, cuts_K)
    if not tracks:
        raise Rejected(RejectReason.NO_FACE, f"no face in {len(frames.images)} sampled frames")
    return tracks[choose_track(tracks, len(frames.images))[0]]


def _frames(uri: str, decoder: IsolatedDecoder) -> SampledFrames:
    with SourceFiles() as files:
        path = files.path(uri)
        decoder.submit(
            DecodeRequest(
                video_path=path,
                audio_path=path,
                start_s=0.0,
                end_s=None,
                longest_side_px=CropOptions().longest_side_px,
                speech=False,
            )
        )
        return decoder.result().frames


def _crops(images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], rule: CropRule) -> np.ndarray:
    pairs = zip(images, boxes, strict=True)
    return np.concatenate([square_crops(image, box[None], rule.scale, rule.side_px, rule.grey) for image, box in pairs])
