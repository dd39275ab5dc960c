"""Layout `clips`: any folder or s3 prefix with videos. Long videos are cut into utterances of a stated length."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tqdm import tqdm

from cluster import storage
from cluster.failures import StorageUnavailable, UserError
from pipeline.decoding.decoder_pool import DecoderPool
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.decoding.requests import LengthRequest
from pipeline.indexing.splits import splits_within_speakers, unheard_speakers
from pipeline.media.file_types import VIDEO_SUFFIXES
from pipeline.rejects import Rejected, count_unforeseen, suspicion

EXPECTS = f"videos ({' '.join(VIDEO_SUFFIXES)}) at any depth; the first folder below the prefix names the speaker"

SHORTEST_REST_S = 1.0
"""A shorter rest joins the utterance before it: the method supports no speech below one second
(compute_audio_feats.m of mcnCrossModalEmotions knows no clip under 100 frames of 10 ms)."""

SPEAKERS_FOR_UNHEARD = 5

LOCAL_DECODERS = max(1, min(16, os.cpu_count() or 1))
FAR_DECODERS = 16  # most of their time goes by until the storage answers

MEMORY_BYTES = 2**30
"""What each of them may allocate: they decode a picture of each file at most."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ClipsOptions:
    """How videos of any kind become utterances.

    Splits, decided by sha256 of names, so that they stay when files are added:

    - With at least 5 speakers, those whose hash falls below `held_out` are "unheard", with all their utterances.
      With fewer, no speaker is set aside. (Adding the fifth speaker can therefore move speakers to "unheard".)
    - Of the other speakers, utterances whose hash falls below `held_out` are "heard", below `held_out + validation`
      "val", the rest "train". The utterance of a speaker with the highest hash is always "train", so that a heard
      speaker was learnt from; a speaker with a single utterance is in "train".
    """

    utterance_s: float = 8.0
    """Length of an utterance in seconds. 8 is the mean track of VoxCeleb1 (33 frames of 0.24 s)."""
    held_out: float = 0.2
    """Share of speakers that are unheard, and of the other speakers' utterances that are heard."""
    validation: float = 0.1
    """Share of the other speakers' utterances by which a checkpoint is chosen."""

    def __post_init__(self):
        if self.utterance_s < SHORTEST_REST_S:
            raise UserError(f"utterance_s is {self.utterance_s}; give at least {SHORTEST_REST_S} second")
        if min(self.held_out, self.validation) < 0 or self.held_out + self.validation >= 1:
            raise UserError(
                f"held_out {self.held_out} and validation {self.validation} are shares; give 0 or more, "
                "together less than 1, so that some utterances are left to learn from"
            )


def read_clips(files: list[storage.StoredFile], prefix: str, options: ClipsOptions) -> dict[str, list]:
    """Columns of the manifest. A file that cannot be opened gives one row from 0 to null, which becomes a reject later.

    video_id is the path below the prefix, with its suffix (a.mp4 and a.mov are two videos); utterance_id adds "#" and
    the start in milliseconds. The speaker is the first folder, or the file's name where it lies at the top; a name in
    two forms of Unicode, as copies from macOS have it, is one speaker.
    """
    durations = probe_durations(files)
    names = ("utterance_id", "speaker_id", "video_id", "video_uri", "audio_uri", "start_s", "end_s")
    columns: dict[str, list] = {name: [] for name in names}
    for file, duration_s in zip(files, durations, strict=True):
        video_id = file.uri.removeprefix(prefix).lstrip("/")
        folder, slash, _ = video_id.partition("/")
        speaker_id = unicodedata.normalize("NFC", folder if slash else video_id.rpartition(".")[0])
        for start_s, end_s in cut(duration_s, options.utterance_s):
            utterance_id = f"{video_id}#{round(start_s * 1000):08d}"
            row = (utterance_id, speaker_id, video_id, file.uri, file.uri, start_s, end_s)
            for name, value in zip(names, row, strict=True):
                columns[name].append(value)
    columns["split"] = _splits(columns["speaker_id"], columns["utterance_id"], options)
    return columns


def cut(duration_s: float | None, utterance_s: float) -> list[tuple[float, float | None]]:
    """Spans [start, end) in seconds that cover the video without gap or overlap; one open span for an unknown end."""
    if not duration_s or duration_s <= 0:
        return [(0.0, None)]
    count = max(int(duration_s // utterance_s), 1)
    if duration_s - count * utterance_s >= SHORTEST_REST_S:
        count += 1
    starts = [index * utterance_s for index in range(count)]
    return list(zip(starts, [*starts[1:], float(duration_s)], strict=True))


def probe_durations(files: list[storage.StoredFile]) -> list[float | None]:
    """Seconds of each file, None where it cannot be opened; how many and why goes to the log."""
    is_local = all(storage.is_local(file.uri) for file in files)
    decoders = min(LOCAL_DECODERS if is_local else FAR_DECODERS, len(files))
    with DecoderPool(max(1, decoders), MEMORY_BYTES) as pool:
        results = pool.map(_probe_duration, files)
        found = list(tqdm(results, total=len(files), desc="probing videos", unit="file", disable=None))
    problems = [problem for _, problem in found if problem]
    if problems:
        reasons = Counter(
            problem.reason.value if isinstance(problem, Rejected) else str(problem) for problem in problems
        )
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        log.warning("%d of %d files cannot be opened and become rejects: %s", len(problems), len(files), told)
    details = [problem.detail for problem in problems if isinstance(problem, Rejected)]
    if said := suspicion(count_unforeseen(details), len(files)):
        log.warning("%s", said)
    return [duration_s for duration_s, _ in found]


def _probe_duration(
    decoder: IsolatedDecoder, file: storage.StoredFile
) -> tuple[float | None, Rejected | UserError | None]:
    """Seconds, and why they are not known. A file that is missing or forbidden is a bad item like any other; a storage
    that serves nothing ends the job."""
    try:
        if not storage.is_local(file.uri) and (duration_s := _remote_duration(decoder, file)) is not None:
            return duration_s, None
        with storage.local_copy(file.uri) as path:
            return decoder.ask(LengthRequest(path=path)), None
    except StorageUnavailable:
        raise
    except (Rejected, UserError) as problem:
        if isinstance(problem, Rejected) and problem.trace:
            log.warning("%s: %s", file.uri, problem.trace)
        return None, problem


def _remote_duration(decoder: IsolatedDecoder, file: storage.StoredFile) -> float | None:
    """Seconds by the file's beginning and end; only the ranges that ffmpeg asks for are fetched. None where a whole copy is
    needed."""
    if not file.size:
        return None
    with storage.open_ranges(file.uri, file.size) as ranges:
        return decoder.ask(LengthRequest(path=file.uri, remote_bytes=file.size), ranges)


def _splits(speaker_ids: list[str], utterance_ids: Iterable[str], options: ClipsOptions) -> list[str]:
    speakers = set(speaker_ids)
    unheard = unheard_speakers(speakers, options.held_out) if len(speakers) >= SPEAKERS_FOR_UNHEARD else set()
    others = splits_within_speakers(
        speaker_ids, list(utterance_ids), held_out=options.held_out, validation=options.validation
    )
    return ["unheard" if speaker in unheard else split for speaker, split in zip(speaker_ids, others, strict=True)]
