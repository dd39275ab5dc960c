"""From the clips of a corpus to matrices of features: in this process where they are few, on Ray where they are many or it is
named.

Shape letters: N clips, T samples, F features of a set, E = 8 emotions, D embedding.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cluster.cluster_address import ray_is_named
from cluster.cores import local_cores
from cluster.progress import progress
from modeling.emotions import EMOTIONS
from modeling.students.build import Student
from modeling.threads import threads_for, torch_threads
from pipeline.corpora.clip import CorpusClip
from pipeline.corpora.read import without_doubles
from pipeline.probe.clip_features import ClipAnswer, ClipReader, Wanted
from pipeline.students.predict import are_few

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeFeatures:
    """clips: all of the corpus, those found unusable set aside; features: set -> (N, F) of the clips that are used, in
    their order; speech: what the student heard, int16 at 16 kHz, or empty where nobody asked for it."""

    clips: list[CorpusClip]
    features: dict[str, np.ndarray]
    speech: list[np.ndarray]

    @property
    def used(self) -> list[CorpusClip]:
        return [clip for clip in self.clips if clip.reject_reason is None]


def probe_features(
    student: Student,
    clips: Sequence[CorpusClip],
    *,
    device: str = "cpu",
    as_published: bool = False,
    keep_speech: bool = False,
    baselines: bool = True,
    seed: int = 0,
    address: str | None = None,
) -> ProbeFeatures:
    """Reads every clip once and looks for the same sound in two files (a video and its sound, a copy).

    as_published, keep_speech, baselines: see `Wanted`. Adds "random" (N, D) and "random8" (N, 8), normal numbers that know
    nothing of the clips.
    """
    wanted = Wanted(as_published=as_published, keep_speech=keep_speech, baselines=baselines)
    uris = list(dict.fromkeys(clip.uri for clip in clips if clip.reject_reason is None))
    answers: dict[str, ClipAnswer] = {}
    with progress(len(uris), "features", "clips") as bar:
        for uri, answer in _answers(student, uris, device, wanted, address):
            if answer.trace:
                log.warning("%s: %s", uri, answer.trace)
            answers[uri] = answer
            bar.update()
    read = [clip if clip.reject_reason else _marked(clip, answers[clip.uri]) for clip in clips]
    read = without_doubles(read, lambda clip: answers[clip.uri].sound_sha256, "sample for sample the same sound")
    used = [answers[clip.uri] for clip in read if clip.reject_reason is None]
    features = {name: np.stack([answer.features[name] for answer in used]) for name in used[0].features} if used else {}
    if used:
        rng = np.random.default_rng(seed)
        features["random"] = rng.standard_normal(features["embedding"].shape)
        features["random8"] = rng.standard_normal((len(used), len(EMOTIONS)))
    return ProbeFeatures(read, features, [answer.heard_T for answer in used if answer.heard_T is not None])


def _marked(clip: CorpusClip, answer: ClipAnswer) -> CorpusClip:
    return replace(clip, reject_reason=answer.reject_reason, reject_detail=answer.reject_detail)


def _answers(
    student: Student, uris: list[str], device: str, wanted: Wanted, address: str | None
) -> Iterator[tuple[str, ClipAnswer]]:
    """The rule of `predict`; a GPU of this machine is used from this process unless Ray is named."""
    if not uris or (not ray_is_named(address) and (device != "cpu" or are_few(uris))):
        return answers_here(student, uris, device, wanted)
    from pipeline.probe.features_on_ray import answers_on_ray  # a small corpus is read before Ray has been imported

    return answers_on_ray(student, uris, device, wanted, address)


def answers_here(student: Student, uris: list[str], device: str, wanted: Wanted) -> Iterator[tuple[str, ClipAnswer]]:
    """Each URI with its answer."""
    with (
        torch_threads(threads_for(student, local_cores())),
        contextlib.closing(ClipReader(student, device, wanted)) as read,
    ):
        for uri in uris:
            yield uri, read(uri)
