"""Which library decodes these clips fastest, all frames and every 6th, and which clips each of them cannot read."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from tqdm import tqdm

from cluster.progress import progress
from cluster.run_record import RunRecord
from pipeline.assets.packages import SAMPLE_VIDEOS, fetch
from pipeline.benches.decode_ways import WAYS, Answer, WayProcess, installed, library
from pipeline.benches.ffmpeg_libraries import found_by_new_processes
from pipeline.benches.measuring import chosen_clips, interleaved
from pipeline.benches.options import BenchDecode
from pipeline.labelling.crop_options import CropOptions

UNITS = {"*.cpu_s_a_clip": "s a clip", "over_floor.*": "ratio", "over_peer.*": "ratio"}
"""Quantities that --record writes."""

DecodedFrames = dict[str, dict[str, list[Answer]]]
"""way -> clip -> its answers, without that of the first pass, which is not timed."""


@dataclass(frozen=True)
class WayFigures:
    """One way on all clips that every library reads: the median of each clip's passes, summed over the clips."""

    pictures: int
    seconds_a_clip: float
    cpu_s_a_clip: float
    pictures_per_s: float
    pictures_per_cpu_s: float


@dataclass(frozen=True)
class Unreadable:
    """The answer of one way to a clip that it cannot read. frames: whole or sampled."""

    clip: str
    frames: str
    way: str
    problem: str


@dataclass(frozen=True)
class DifferentCounts:
    """A clip from which the ways make different numbers of pictures: damaged files, edit lists, rounding at the end."""

    clip: str
    pictures: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class DecodeResult:
    """whole, sampled: way -> figures. The verdict is in CPU seconds, and None if no clip is read by every way: over_floor is
    whole or sampled -> way -> ratio, over_peer is plain way -> the default's seconds over its own."""

    clips: int
    clips_compared: int
    whole: dict[str, WayFigures]
    sampled: dict[str, WayFigures]
    default: str
    fastest_whole: str | None = None
    fastest_sampled: str | None = None
    default_wins: bool | None = None
    over_floor: dict[str, dict[str, float]] | None = None
    over_peer: dict[str, float] | None = None
    not_installed: list[str]
    problems: list[Unreadable]
    other_counts: list[DifferentCounts]


def bench_decode(options: BenchDecode, record: RunRecord) -> DecodeResult:
    paths = _clips(options)
    kinds: dict[str, DecodedFrames] = {}
    total = len(paths) * sum(installed(way) for _, way in WAYS)
    with found_by_new_processes(), progress(total, "decode", "clips") as bar:
        for kind in ("whole", "sampled"):
            with record.stage(kind):
                kinds[kind] = _answers(kind, paths, options.repeats, bar)
    readable = [path for path in paths if not _problems(kinds, path)]
    result = DecodeResult(
        clips=len(paths),
        clips_compared=len(readable),
        whole=_figures(kinds["whole"], readable),
        sampled=_figures(kinds["sampled"], readable),
        default=CropOptions().decoder,
        not_installed=sorted({library(way) for _, way in WAYS if not installed(way)}),
        problems=[problem for path in paths for problem in _problems(kinds, path)],
        other_counts=[odd for path in readable if (odd := _other_counts(kinds, path))],
    )
    return _with_verdict(result) if readable else result


def _clips(options: BenchDecode) -> list[str]:
    if options.data is None:
        return [str(path) for path in fetch(*SAMPLE_VIDEOS)]
    return chosen_clips(options.data, options.clips)


def _answers(kind: str, paths: list[str], repeats: int, bar: "tqdm[NoReturn]") -> DecodedFrames:
    ways = {way: WayProcess(kind, way) for of, way in WAYS if of == kind and installed(way)}
    answers: DecodedFrames = {way: {} for way in ways}
    try:
        for path in paths:
            calls = {way: lambda process=process: process(path) for way, process in ways.items()}  # noqa: B023
            for way, given in interleaved(calls, repeats + 1).items():
                answers[way][path] = given[1:]
                bar.update()
    finally:
        for process in ways.values():
            process.close()
    return answers


def _problems(kinds: Mapping[str, DecodedFrames], path: str) -> list[Unreadable]:
    return [
        Unreadable(path, kind, way, bad[0].problem)
        for kind, answers in kinds.items()
        for way, clips in answers.items()
        if (bad := [answer for answer in clips[path] if answer.problem])
    ]


def _other_counts(kinds: Mapping[str, DecodedFrames], path: str) -> DifferentCounts | None:
    counts = {
        f"{kind}, {way}": clips[path][0].pictures for kind, answers in kinds.items() for way, clips in answers.items()
    }
    of_kind = {kind: {n for name, n in counts.items() if name.startswith(kind)} for kind in kinds}
    return DifferentCounts(path, counts) if any(len(found) > 1 for found in of_kind.values()) else None


def _figures(answers: DecodedFrames, paths: Sequence[str]) -> dict[str, WayFigures]:
    figures = {}
    for way, clips in answers.items() if paths else ():
        pictures = sum(clips[path][0].pictures for path in paths)
        wall_s = sum(statistics.median(answer.seconds for answer in clips[path]) for path in paths)
        cpu_s = sum(statistics.median(answer.cpu_s for answer in clips[path]) for path in paths)
        figures[way] = WayFigures(
            pictures=pictures,
            seconds_a_clip=round(wall_s / len(paths), 5),
            cpu_s_a_clip=round(cpu_s / len(paths), 5),
            pictures_per_s=round(pictures / wall_s, 1),
            pictures_per_cpu_s=round(pictures / cpu_s, 1),
        )
    return figures


def _with_verdict(result: DecodeResult) -> DecodeResult:
    """Adds the default's CPU time relative to the floor, the other decoder and the plain ways; the least CPU time wins."""
    whole, sampled = (
        {way: one.cpu_s_a_clip for way, one in figures.items()} for figures in (result.whole, result.sampled)
    )
    of_label = {way: cpu_s for way, cpu_s in sampled.items() if "plain" not in way}
    plain = {way: cpu_s for way, cpu_s in sampled.items() if "plain" in way}
    return replace(
        result,
        fastest_whole=_least({way: cpu_s for way, cpu_s in whole.items() if way != "floor"}),
        fastest_sampled=_least(sampled),
        default_wins=_least(of_label) == result.default,
        over_floor={
            kind: {way: round(cpu_s / whole["floor"], 3) for way, cpu_s in ways.items()}
            for kind, ways in (("whole", whole), ("sampled", sampled))
        },
        over_peer={way: round(sampled[result.default] / cpu_s, 3) for way, cpu_s in plain.items()},
    )


def _least(cpu_s: Mapping[str, float]) -> str:
    return min(cpu_s, key=lambda way: cpu_s[way])
