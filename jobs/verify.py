"""Whether a distillation set is what was written, part by part."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.run_record import RunRecord
from pipeline.dataset.verification import VerifiedSet, verify_set


@dataclass(frozen=True, kw_only=True)
class Verify(JobOptions):
    """Reads a whole distillation set and holds each part against the hashes that it was written with.

    Exit code 0: nothing was changed. 1: each part that is missing, strange or changed is a line of the log.
    """

    labels: tyro.conf.Positional[str]
    """Output folder of `emovox label`; a path or s3:// URI."""


def verify(options: Verify, record: RunRecord) -> VerifiedSet:
    return verify_set(storage.absolute(options.labels))


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("verify", Verify, verify, argv)


if __name__ == "__main__":
    sys.exit(main())
