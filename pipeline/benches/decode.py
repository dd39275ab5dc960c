"""Which library decodes these clips fastest, whole and every 6th frame, and what each of them cannot read."""

import statistics
from dataclasses import dataclass

from cluster.failures import UserError
from cluster.progress import progress
from cluster.run_record import RunRecord
from pipeline.assets.packages import SAMPLE_VIDEOS, fetch
from pipeline.benches.decode_ways import WAYS, Answer, WayProcess, installed, library
from pipeline.benches.ffmpeg_libraries import found_by_new_processes
from pipeline.benches.measuring import BenchOptions, chosen_clips, interleaved
from pipeline.labelling.cropper import CropOptions

UNITS = {"*.cpu_s_a_clip": "s a clip", "over_floor.*": "ratio", "over_peer.*": "ratio"}
"""Quantities that --record keeps."""

DecodedFrames = dict[str, dict[str, list[Answer]]]
"""way -> clip -> the answer of each repeat after the first, which is not timed."""


@dataclass(frozen=True, kw_only=True)
class BenchDecode(BenchOptions):
    """Decodes the same clips with PyAV, decord and torchcodec (which the extra `bench` installs): whole, and the frames on
    the grid of 0.24 s that labelling takes, which is every 6th at 25 frames per second.

    Each way has one thread and a process of its own; they take turns clip by clip. The floor decodes every frame and makes
    no picture of any. `pyav` and `decord` sampled are what `emovox label --crops.decoder` does; `..., plain` is how one
    writes it at first. Compared are clips that every library decodes; what one of them does not read is listed under
    `problems`. CPU seconds say more than wall seconds where the machine has other work.
    """

    data: str | None = None
    """Folder with videos, at any depth; left out: the sample videos of `emovox demo`."""
    out: str | None = None
    """Folder for bench_decode.json."""
    repeats: int = 3
    """Timed passes over each clip, after one that is not timed."""
    clips: int | None = None
    """Take at most so many clips, spread evenly over the folder; left out: all."""

    def __post_init__(self):
        for name in ("repeats", "clips"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; give 1 or more")


def bench_decode(options: BenchDecode, record: RunRecord) -> dict:
    paths = _clips(options)
    absent = sorted({library(way) for _, way in WAYS if not installed(way)})
    kinds: dict[str, DecodedFrames] = {}
    total = len(paths) * sum(installed(way) for _, way in WAYS)
    with found_by_new_processes(), progress(total, "decode", "clips") as bar:
        for kind in ("whole", "sampled"):
            with record.stage(kind):
                kinds[kind] = _answers(kind, paths, options.repeats, bar)
    readable = [path for path in paths if not _problems(kinds, path)]
    figures = {kind: _figures(answers, readable) for kind, answers in kinds.items()}
    return {
        "clips": len(paths),
        "clips_compared": len(readable),
        **figures,
        **(_verdict(figures) if readable else {}),
        "not_installed": absent,
        "problems": [problem for path in paths for problem in _problems(kinds, path)],
        "other_counts": [odd for path in readable if (odd := _other_counts(kinds, path))],
    }


def _clips(options: BenchDecode) -> list[str]:
    if options.data is None:
        return [str(path) for path in fetch(*SAMPLE_VIDEOS)]
    return chosen_clips(options.data, options.clips)


def _answers(kind: str, paths: list[str], repeats: int, bar) -> DecodedFrames:
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


def _problems(kinds: dict[str, DecodedFrames], path: str) -> list[dict]:
    return [
        {"clip": path, "frames": kind, "way": way, "problem": bad[0].problem}
        for kind, answers in kinds.items()
        for way, clips in answers.items()
        if (bad := [answer for answer in clips[path] if answer.problem])
    ]


def _other_counts(kinds: dict[str, DecodedFrames], path: str) -> dict | None:
    """Where the ways make different numbers of pictures of a clip: damaged files, edit lists, rounding at the end."""
    counts = {
        f"{kind}, {way}": clips[path][0].pictures for kind, answers in kinds.items() for way, clips in answers.items()
    }
    of_kind = {kind: {n for name, n in counts.items() if name.startswith(kind)} for kind in kinds}
    return {"clip": path, "pictures": counts} if any(len(found) > 1 for found in of_kind.values()) else None


def _figures(answers: DecodedFrames, paths: list[str]) -> dict[str, dict]:
    """Way -> pictures, seconds a clip and pictures a second: medians of a clip's repeats, summed over the clips."""
    figures = {}
    for way, clips in answers.items() if paths else ():
        pictures = sum(clips[path][0].pictures for path in paths)
        wall_s, cpu_s = (
            sum(statistics.median(getattr(answer, name) for answer in clips[path]) for path in paths)
            for name in ("seconds", "cpu_s")
        )
        figures[way] = {
            "pictures": pictures,
            "seconds_a_clip": round(wall_s / len(paths), 5),
            "cpu_s_a_clip": round(cpu_s / len(paths), 5),
            "pictures_per_s": round(pictures / wall_s, 1),
            "pictures_per_cpu_s": round(pictures / cpu_s, 1),
        }
    return figures


def _verdict(figures: dict[str, dict]) -> dict:
    """The default's CPU time beside the floor, the other decoder and the plain ways; least CPU time wins."""
    whole, sampled = ({way: one["cpu_s_a_clip"] for way, one in figures[kind].items()} for kind in ("whole", "sampled"))
    default = CropOptions().decoder
    of_label = {way: cpu_s for way, cpu_s in sampled.items() if "plain" not in way}
    plain = {way: cpu_s for way, cpu_s in sampled.items() if "plain" in way}
    return {
        "default": default,
        "fastest_whole": min((way for way in whole if way != "floor"), key=whole.get),
        "fastest_sampled": min(sampled, key=sampled.get),
        "default_wins": min(of_label, key=of_label.get) == default,
        "over_floor": {
            kind: {way: round(cpu_s / whole["floor"], 3) for way, cpu_s in ways.items()}
            for kind, ways in (("whole", whole), ("sampled", sampled))
        },
        "over_peer": {way: round(sampled[default] / cpu_s, 3) for way, cpu_s in plain.items()},
    }
