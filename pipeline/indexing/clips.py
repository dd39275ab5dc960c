"""Layout `clips`: any folder or s3 prefix with videos. Long videos are cut into utterances of a stated length."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from cluster import storage
from cluster.failures import UserError
from pipeline.indexing.splits import splits_within_speakers, unheard_speakers
from pipeline.media.file_types import VIDEO_SUFFIXES

EXPECTS = f"videos ({' '.join(VIDEO_SUFFIXES)}) at any depth; the first folder below the prefix names the speaker"

SHORTEST_REST_S = 1.0
"""A shorter rest joins the utterance before it: the method supports no speech below one second
(compute_audio_feats.m of mcnCrossModalEmotions knows no clip under 100 frames of 10 ms)."""

SPEAKERS_FOR_UNHEARD = 5


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
    from pipeline.indexing.durations import probe_durations  # brings what decodes, which the options do without

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


def _splits(speaker_ids: list[str], utterance_ids: Iterable[str], options: ClipsOptions) -> list[str]:
    speakers = set(speaker_ids)
    unheard = unheard_speakers(speakers, options.held_out) if len(speakers) >= SPEAKERS_FOR_UNHEARD else set()
    others = splits_within_speakers(
        speaker_ids, list(utterance_ids), held_out=options.held_out, validation=options.validation
    )
    return ["unheard" if speaker in unheard else split for speaker, split in zip(speaker_ids, others, strict=True)]
