"""The distillation sets of the transfer benchmark: real speech with labels of real faces, or with the truth.

Written as `emovox label` writes them, so that `emovox distill` and `emovox evaluate` read them by hand too.
Shape letters: M faces, V variants of a face, K frames of a clip, E = 8 emotions, H = W = 48 pixels.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa

from cluster import storage
from cluster.failures import UserError
from cluster.progress import progress
from modeling.distillation.targets import aggregate, hard_logits
from modeling.emotions import EMOTIONS
from modeling.evaluation.transfer import SpeakerSplit
from modeling.faces.ferplus import FaceSet, majority_rule
from modeling.teachers.load import Teacher
from pipeline.dataset.distillation_set import close, read_columns, write_part
from pipeline.dataset.set_record import delete_record
from pipeline.media.frame_grid import sample_times
from pipeline.media.pictures import jpeg
from pipeline.rejects import RejectReason
from pipeline.schema import DISTILLATION_SCHEMA
from pipeline.transfer.speech import SpeechClip

TRANSFER_PART_ROWS = 64
MOST_FACES = 200
"""Faces of an emotion that are used, at most: the teacher looks at every variant of each."""

VARIANTS = 4
"""Slightly moved copies of a face, so that the frames of a face differ as in a video."""

SHIFT_PX, ZOOM = 2.0, 0.06
"""Largest move of a face of 48 pixels, and largest change of its size; every second copy is mirrored."""

Labels = Callable[[SpeechClip], dict]


@dataclass(frozen=True, kw_only=True)
class FaceBank:
    """Faces with what the teacher says of them. rows_M: their places in the face file; emotion_M: by FER+'s majority."""

    images_MHW: np.ndarray
    rows_M: np.ndarray
    emotion_M: np.ndarray
    logits_MVE: np.ndarray
    teacher: str
    teacher_masks: tuple[str, ...]

    def of(self, emotion: int) -> np.ndarray:
        return np.flatnonzero(self.emotion_M == emotion)


def chosen_faces(
    faces: FaceSet, wanted: Sequence[str], faces_per_clip: int, faces_uri: str
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (M,) and emotions (M,) of the faces to use: up to `MOST_FACES` of each wanted emotion, by FER+'s majority rule.

    Raises UserError where an emotion has fewer than `faces_per_clip`.
    """
    emotion_N = np.where(majority_rule(faces.votes_NV), faces.votes_NV[:, : len(EMOTIONS)].argmax(1), -1)
    counts = {emotion: int(np.sum(emotion_N == EMOTIONS.index(emotion))) for emotion in wanted}
    if few := {emotion: n for emotion, n in counts.items() if n < faces_per_clip}:
        listed = ", ".join(f"{emotion} {n}" for emotion, n in few.items())
        raise UserError(
            f"{faces_uri}: too few faces with a majority for an emotion of the speech ({listed}); each clip takes "
            f"{faces_per_clip} different ones: give more faces, lower --faces-per-clip, or empty that ferplus_class"
        )
    rng = np.random.default_rng(0)
    columns = [EMOTIONS.index(emotion) for emotion in wanted]
    rows = [rng.permutation(np.flatnonzero(emotion_N == column))[:MOST_FACES] for column in columns]
    return np.concatenate(rows), np.repeat(columns, [len(part) for part in rows])


def face_bank(
    faces: FaceSet, rows_M: np.ndarray, emotion_M: np.ndarray, *, teacher: Teacher, cache_uri: str
) -> FaceBank:
    """The teacher's raw logits of `VARIANTS` copies of each face; kept at `cache_uri` and read from there when it exists."""
    images_MHW = faces.images_NHW[rows_M]
    if storage.exists(cache_uri):
        flat = storage.read_table(cache_uri)["logits"].combine_chunks().flatten().to_numpy()
    else:
        moved_NHW = moved_copies(images_MHW, np.random.default_rng(0))
        with progress(len(moved_NHW), "the teacher looks", "faces") as bar:
            flat = teacher.faces(moved_NHW, bar.update).ravel()
        logits = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), VARIANTS * len(EMOTIONS))
        storage.write_table(cache_uri, pa.table({"row": rows_M, "emotion": emotion_M, "logits": logits}))
    logits_MVE = flat.reshape(len(rows_M), VARIANTS, len(EMOTIONS))
    return FaceBank(
        images_MHW=images_MHW,
        rows_M=rows_M,
        emotion_M=emotion_M,
        logits_MVE=logits_MVE,
        teacher=teacher.fingerprint,
        teacher_masks=teacher.masked,
    )


def moved_copies(images_MHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(M, H, W) uint8 -> (M V, H, W): the copies of a face one after another, each shifted, zoomed, some mirrored."""
    centre = (images_MHW.shape[1] - 1) / 2
    copies = []
    for image_HW in np.repeat(images_MHW, VARIANTS, axis=0):
        zoom = 1 + rng.uniform(-ZOOM, ZOOM)
        dx, dy = rng.uniform(-SHIFT_PX, SHIFT_PX, 2)
        across = zoom * rng.choice((-1, 1))
        move = np.array([[across, 0, centre * (1 - across) + dx], [0, zoom, centre * (1 - zoom) + dy]])
        copies.append(cv2.warpAffine(image_HW, move, image_HW.shape[::-1], borderMode=cv2.BORDER_REPLICATE))
    return np.stack(copies)


def face_labels(bank: FaceBank, emotions: dict[str, int], *, faces_uri: str, faces_per_clip: int, seed: int) -> Labels:
    """Labels of clips by the teacher, from faces that show `emotions` (utterance_id -> index).

    The faces of a clip follow each other in equal runs of frames. They depend on the seed, the clip and the emotion only.
    """

    def labels(clip: SpeechClip) -> dict:
        id = clip.file.utterance_id
        rng = np.random.default_rng((seed, zlib.crc32(id.encode())))
        faces_F = rng.choice(bank.of(emotions[id]), faces_per_clip, replace=False)
        times_K = sample_times(0.0, clip.seconds)
        shown_K = np.arange(len(times_K)) * faces_per_clip // len(times_K)
        variants_FV = rng.permuted(np.tile(np.arange(VARIANTS), (faces_per_clip, 1)), axis=1)
        within_K = np.arange(len(times_K)) - np.searchsorted(shown_K, shown_K)
        frames_KE = bank.logits_MVE[faces_F[shown_K], variants_FV[shown_K, within_K % VARIANTS]]
        first_K = np.flatnonzero(within_K == 0)
        return _labelled(times_K, frames_KE, bank.teacher) | {
            "video_uri": faces_uri,
            "teacher_masks": list(bank.teacher_masks),
            "thumbnails": [jpeg(bank.images_MHW[faces_F[face]]) for face in shown_K[first_K]],
            "thumbnail_times_s": times_K[first_K],
        }

    return labels


def true_labels(speech: str) -> Labels:
    """The same set with the truth in place of a teacher: certain of the clip's own emotion in every frame."""

    def labels(clip: SpeechClip) -> dict:
        times_K = sample_times(0.0, clip.seconds)
        truth_K = np.full(len(times_K), EMOTIONS.index(clip.file.truth))
        return _labelled(times_K, hard_logits(truth_K), f"truth@{speech}") | {"teacher_masks": []}

    return labels


def _labelled(times_K: np.ndarray, frames_KE: np.ndarray, teacher: str) -> dict:
    if not np.isfinite(frames_KE).all():
        detail = "the teacher gave NaN or infinity for a face"
        return {"reject_reason": RejectReason.TEACHER_NOT_FINITE.value, "reject_detail": detail}
    logits_E = aggregate(frames_KE)
    boxes, scores = [[0.0, 0.0, 1.0, 1.0]] * len(times_K), [1.0] * len(times_K)
    return {
        "emotion": EMOTIONS[int(logits_E.argmax())],
        "logits": logits_E,
        "frame_logits": frames_KE.tolist(),
        "frame_indices": np.arange(len(times_K)),
        "frame_times_s": times_K,
        "frame_boxes": boxes,
        "frame_scores": scores,
        "face_tracks": [{"frame_indices": np.arange(len(times_K)), "boxes": boxes, "scores": scores}],
        "frames_sampled": len(times_K),
        "labelled_track": 0,
        "face_is_ambiguous": False,
        "teacher": teacher,
        "detector": "none",
    }


def write_set(labels_uri: str, clips: Sequence[SpeechClip], split: SpeakerSplit, labels: Labels) -> None:
    """Writes the whole set unless it is there already. Parts are named by their ids, so a repeated one replaces itself."""
    there = Counter(read_columns(labels_uri, ["utterance_id"])["utterance_id"].to_pylist())
    if there == Counter(clip.file.utterance_id for clip in clips):
        return
    delete_record(labels_uri)
    for start in range(0, len(clips), TRANSFER_PART_ROWS):
        rows = [_row(clip, split, labels) for clip in clips[start : start + TRANSFER_PART_ROWS]]
        write_part(labels_uri, pa.Table.from_pylist(rows, schema=DISTILLATION_SCHEMA))
    close(labels_uri)


def _row(clip: SpeechClip, split: SpeakerSplit, labels: Labels) -> dict:
    file = clip.file
    identity = {
        "utterance_id": file.utterance_id,
        "speaker_id": file.speaker_id,
        "video_id": file.utterance_id,
        "video_uri": file.audio_uri,
        "audio_uri": file.audio_uri,
        "start_s": 0.0,
        "end_s": clip.seconds,
        "split": split.of(file.speaker_id),
    }
    if clip.reject_reason:
        return identity | {"reject_reason": clip.reject_reason, "reject_detail": clip.reject_detail, "end_s": None}
    sound = {"speech_flac": clip.speech_flac, "speech_samples": clip.samples}
    label = labels(clip)
    return identity | label if "reject_reason" in label else identity | sound | label
