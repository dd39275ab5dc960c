"""Checks that a distillation set is unchanged since it was written, part by part."""

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
    """Reads a whole distillation set and compares each part with the hashes that were written with it.

    Exit code 0: nothing has changed. 1: the log has a line for each part that is missing, added or changed.
    """

    labels: tyro.conf.Positional[str]
    """Output folder of `emovox label`; a path or s3:// URI."""


def verify(options: Verify, record: RunRecord) -> VerifiedSet:
    return verify_set(storage.absolute(options.labels))


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("verify", Verify, verify, argv)


if __name__ == "__main__":
    sys.exit(main())
