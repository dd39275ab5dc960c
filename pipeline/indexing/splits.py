"""Splits decided by a hash of names, so that an utterance keeps its split when other files are added later.

sha256, not Python's `hash`, which differs from one process to the next.
"""

import hashlib
from collections.abc import Iterable, Sequence


def hash_share(kind: str, name: str) -> float:
    """A number in [0, 1) fixed by the name alone; `kind` keeps the draw of speakers apart from that of utterances."""
    digest = hashlib.sha256(f"{kind}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def unheard_speakers(speaker_ids: Iterable[str], share: float) -> set[str]:
    """The speakers whose hash falls below `share`."""
    return {speaker for speaker in set(speaker_ids) if hash_share("speaker", speaker) < share}


def first_speakers(speaker_ids: Iterable[str], count: int) -> set[str]:
    """The `count` speakers with the lowest hashes."""
    return set(sorted(set(speaker_ids), key=lambda speaker: hash_share("speaker", speaker))[:count])


def splits_within_speakers(
    speaker_ids: Sequence[str], recording_ids: Sequence[str], *, held_out: float, validation: float
) -> list[str]:
    """ "heard", "val" or "train" for each utterance; utterances with one `recording_id` stay together.

    A recording whose hash falls below `held_out` is heard, below `held_out + validation` it is val. One exception makes
    "heard" true to its name: the recording of a speaker with the highest hash is always train, so that a speaker with
    one recording is learnt from and never only tested on.
    """
    shares = {recording: hash_share("recording", recording) for recording in set(recording_ids)}
    highest: dict[str, float] = {}
    for speaker, recording in zip(speaker_ids, recording_ids, strict=True):
        highest[speaker] = max(highest.get(speaker, 0.0), shares[recording])

    def split(speaker: str, recording: str) -> str:
        share = shares[recording]
        if share == highest[speaker] or share >= held_out + validation:
            return "train"
        return "heard" if share < held_out else "val"

    return [split(speaker, recording) for speaker, recording in zip(speaker_ids, recording_ids, strict=True)]
