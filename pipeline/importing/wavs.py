"""Which wav a published name means. Names and folders may be of VoxCeleb1's new kind, id10001/<video>/00001.wav, or of its old
one, A.J._Buckley/<video>_0000001.wav; vox1_meta.csv says which name has which id."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster import storage
from cluster.failures import UserError
from pipeline.indexing.voxceleb1_lists import Identities, read_identities, track_key
from pipeline.media.listing import list_media
from pipeline.rejects import Rejected, RejectReason

META = "vox1_meta.csv"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NamedWav:
    """One row of the set. entry: its number among the published names; None for a wav that none of them means. problem: why it
    has no label, as far as names tell."""

    utterance_id: str
    speaker_id: str
    video_id: str
    uri: str
    entry: int | None
    problem: Rejected | None = None


def named_wavs(names: Sequence[str], speech_uri: str, meta_uri: str | None = None) -> list[NamedWav]:
    """All published names and all wavs below `speech_uri`, each once.

    A name that means no wav, or more than one, and one that is published twice, is a problem of that row; so is a wav without a
    name. meta_uri: of vox1_meta.csv; None: the one below `speech_uri`, if it is there. Raises UserError if no name means a wav.
    """
    prefix = storage.absolute(speech_uri).rstrip("/") + "/"
    files = [file.uri for file in list_media(speech_uri, (".wav", META))]
    metas = [meta_uri] if meta_uri else [uri for uri in files if uri.endswith("/" + META)]
    identities = read_identities(metas[0]) if metas else Identities({}, frozenset())
    wavs: dict[str, list[str]] = defaultdict(list)
    for uri in files:
        if not uri.endswith("/" + META):
            wavs[_meant(uri.removeprefix(prefix), identities)].append(uri)
    entries: dict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(names):
        entries[_meant(name, identities)].append(number)
    if entries.keys().isdisjoint(wavs):
        example = next(iter(wavs.values()))[0] if wavs else "no wav at all"
        raise UserError(
            f"{speech_uri}: none of the {len(names)} wavs that the logits name, such as {names[0]}, is there, but {example}; "
            f"give the folder above the speakers' and, where one of the two has names and the other ids, {META} (--meta)"
        )
    rows = [*_rows(names, entries, wavs, prefix), *_unnamed(entries, wavs)]
    for what, count in _counts(rows).items():
        log.warning("%d %s", count, what)
    return rows


def _meant(path: str, identities: Identities) -> str:
    """The utterance that a path means: with the speaker's id if it is known."""
    stem = path.rpartition(".")[0] if "." in path.rpartition("/")[2] else path
    key = track_key(stem)
    return "/".join(identities.with_id(key)) if key else stem


def _rows(
    names: Sequence[str], entries: dict[str, list[int]], wavs: dict[str, list[str]], prefix: str
) -> Iterator[NamedWav]:
    for utterance_id, numbers in entries.items():
        found, problem = wavs.get(utterance_id, []), None
        if len(numbers) > 1:
            said = ", ".join(names[number] for number in numbers[:3])
            problem = Rejected(RejectReason.AMBIGUOUS_NAME, f"{len(numbers)} entries of the logits mean it ({said})")
        elif len(found) > 1:
            problem = Rejected(RejectReason.AMBIGUOUS_NAME, f"{len(found)} wavs bear its name ({', '.join(found[:3])})")
        elif not found:
            problem = Rejected(RejectReason.NO_WAV, f"the logits name {names[numbers[0]]}, which is not there")
        uri = found[0] if found else storage.join(prefix, names[numbers[0]])
        yield _row(utterance_id, uri, numbers[0], problem)


def _unnamed(entries: dict[str, list[int]], wavs: dict[str, list[str]]) -> Iterator[NamedWav]:
    for utterance_id, found in wavs.items():
        if utterance_id not in entries:
            yield _row(
                utterance_id, found[0], None, Rejected(RejectReason.NO_LOGITS, "the file of logits does not name it")
            )


def _row(utterance_id: str, uri: str, entry: int | None, problem: Rejected | None) -> NamedWav:
    speaker, _, rest = utterance_id.partition("/")
    return NamedWav(utterance_id, speaker, rest.partition("/")[0] or speaker, uri, entry, problem)


def _counts(rows: list[NamedWav]) -> dict[str, int]:
    said = {
        RejectReason.NO_WAV: "wavs that the logits name are not there",
        RejectReason.AMBIGUOUS_NAME: "names of the logits mean several wavs, or stand there several times",
        RejectReason.NO_LOGITS: "wavs are not named by the logits",
    }
    found = Counter(row.problem.reason for row in rows if row.problem)
    return {said[reason]: count for reason, count in found.items()}
