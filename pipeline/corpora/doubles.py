"""One recording under two names, one name in two spellings: what would be learned from and scored on at once."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from cluster.failures import UserError
from pipeline.media.file_types import AUDIO_SUFFIXES
from pipeline.names import likeness
from pipeline.rejects import RejectReason


class Labelled(NamedTuple):
    """A clip as far as it can be the same as another. key: what two clips of one recording have in common; None: nothing."""

    file: str
    speaker: str | None
    emotion: str | None
    key: Hashable | None


def find_doubles(clips: Sequence[Labelled], what: str) -> dict[int, tuple[RejectReason, str]]:
    """The clips to set aside, by index, each with reason and detail: all but the first of each key, or all of them where
    their labels differ. what: what they share, for the detail.

    Sound files come before videos, so that the extracted sound of a video is used.
    """
    same: dict[Hashable, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        if clip.key is not None:
            same[clip.key].append(index)
    found = {}
    for indices in same.values():
        indices.sort(key=lambda index: (not clips[index].file.lower().endswith(AUDIO_SUFFIXES), index))
        agree = len({(clips[index].speaker, clips[index].emotion) for index in indices}) == 1
        reason = RejectReason.DUPLICATE if agree else RejectReason.CONTRADICTORY_LABELS
        for index in indices[1:] if agree else indices:
            others = [clips[other] for other in indices if other != index]
            named = ", ".join(f"{other.file} ({other.speaker}, {other.emotion})" for other in others[:3])
            found[index] = (reason, f"{what} as {named}")
    return found


def require_one_spelling(names: Iterable[str], what: str, uri: str) -> None:
    """Raises UserError where a person reads two names as one."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for name in names:
        spellings[likeness(name)].add(name)
    if twice := [sorted(several) for several in spellings.values() if len(several) > 1]:
        raise UserError(
            f"{uri}: {what}s that differ in capitals, quotes or invisible characters only: {twice}; write each in one way"
        )
