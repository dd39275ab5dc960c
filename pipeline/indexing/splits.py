"""Splits from a hash of names, so that an utterance keeps its split when files are added later.

The hash is sha256, because Python's `hash` differs between processes.
"""

import hashlib
from collections.abc import Iterable, Sequence


def hash_share(kind: str, name: str) -> float:
    """A number in [0, 1) that depends only on the name; `kind` makes the draws of speakers and utterances independent."""
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
    """ "heard", "val" or "train" for each utterance; utterances with the same `recording_id` stay together.

    A recording whose hash falls below `held_out` is heard; below `held_out + validation` it is val. As an exception, each
    speaker's recording with the highest hash is always train. So the speakers of the split heard really are heard in
    training, even those with a single recording.
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
