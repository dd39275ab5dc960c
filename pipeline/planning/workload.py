"""What is to be labelled: a published set, a manifest, or a number of utterances."""

from dataclasses import dataclass

import numpy as np

from pipeline.dataset.manifest import read_manifest


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is to be labelled. bytes_in: bytes of all videos; None: estimated from the rates."""

    name: str
    utterances: int
    utterance_s: float
    videos: int | None = None
    bytes_in: float | None = None
    note: str = ""


VOXCELEB1 = Workload(
    name="voxceleb1",
    utterances=153_516,
    utterance_s=8.2,
    videos=22_496,
    note="VoxCeleb1 gives boxes or face pictures, so no detector runs; its videos are whole scenes of any size.",
)
VOXCELEB2 = Workload(
    name="voxceleb2",
    utterances=1_128_246,
    utterance_s=7.8,
    videos=1_128_246,
    bytes_in=257e9,
    note="VoxCeleb2's videos are 224x224 face tracks, one a file: no detector runs, and they decode fast.",
)
VOXCELEB1_WAVS = Workload(
    name="voxceleb1-wavs",
    utterances=153_352,
    utterance_s=8.2,
    videos=153_352,
    bytes_in=153_352 * 8.2 * 32_000,
    note="VoxCeleb1's sound with published labels (`emovox import-labels`): no picture is decoded, no teacher "
    "runs; what is --crop-workers here is its --workers.",
)
DATASETS = {workload.name: workload for workload in (VOXCELEB1, VOXCELEB1_WAVS, VOXCELEB2)}
"""Counts and mean seconds as published (Nagrani et al. 2017, table 1; Chung et al. 2018, table 2). VoxCeleb2 was cut from
150,480 videos; its mp4 archives take about 249 GB (dev) and 8 GB (test)."""


def manifest_workload(uri: str, usual_s: float) -> Workload:
    """A manifest's utterances. Mean seconds come from the rows that have an end; `usual_s` if none has."""
    table = read_manifest(uri)
    spans_s = table["end_s"].to_numpy() - table["start_s"].to_numpy()
    known_s = spans_s[~np.isnan(spans_s)]
    return Workload(
        name=uri,
        utterances=len(table),
        utterance_s=float(known_s.mean()) if len(known_s) else usual_s,
        videos=len(table["video_uri"].unique()),
    )
