"""Two distillation sets of the same utterances -> how their labels differ, as JSON and as a page."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.run_record import RunRecord, installed_versions
from pipeline.reports.facts import ReportFacts

if TYPE_CHECKING:
    from pipeline.comparison.figures import Comparison
    from pipeline.comparison.joined import JoinedSets

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CompareLabels(JobOptions):
    """Compares two distillation sets of the same utterances, by two teachers or two versions: how often the dominant emotion is
    the same, overall and by emotion, with intervals that resample speakers; Cohen's kappa and the confusion; how often each
    emotion occurs; how far the probabilities are apart; how sure each is beside how often the other agrees; what became of
    rejects; and the utterances that changed most, with their faces and speech on the page. Runs in this process, without Ray.
    """

    a: tyro.conf.Positional[str]
    """One set: output folder of `emovox label`; a path or s3:// URI."""
    b: tyro.conf.Positional[str]
    """The other one."""
    out: str | None = None
    """Folder or s3:// prefix for comparison.json, report.html and run.json. Default: only the line on stdout."""
    most: int = 24
    """How many of the utterances that changed most are named, and shown."""

    def __post_init__(self):
        if self.most < 0:
            raise UserError(f"--most {self.most}: give 0 or more")


def compare_labels(options: CompareLabels, record: RunRecord) -> dict:
    from pipeline.comparison.compare import compare
    from pipeline.comparison.joined import join_sets
    from pipeline.dataset.label_set import read_label_set

    if options.out is not None:
        storage.require_writable(options.out)
    with record.stage("read"):
        joined = join_sets(*(read_label_set(storage.absolute(uri)) for uri in (options.a, options.b)))
    with record.stage("compare"):
        found = compare(joined, most=options.most)
    for warning in found.warnings:
        log.warning("%s", warning)
    result = json_ready(found)
    record.inputs |= {"teachers_a": found.a.teachers, "teachers_b": found.b.teachers}
    record.counts |= result["overlap"]
    if options.out is not None:
        result["report"] = _write(storage.absolute(options.out), found, joined, options, record)
    return result | {"seconds": round(record.seconds(), 3)}


def _write(out_uri: str, found: "Comparison", joined: "JoinedSets", options: CompareLabels, record: RunRecord) -> str:
    """Writes the three files. Returns the URI of the page."""
    from pipeline.comparison.faces import read_shown
    from pipeline.reports.comparison import comparison_report

    figures_uri, report_uri = (storage.join(out_uri, name) for name in ("comparison.json", "report.html"))
    facts = ReportFacts(
        title="Two sets of labels for the same utterances",
        files={"A": options.a, "B": options.b, "figures": figures_uri},
        versions=installed_versions(),
    )
    with record.stage("page"):
        ids = [changed.utterance_id for changed in found.most_changed]
        page = comparison_report(found, read_shown(joined.a, ids), read_shown(joined.b, ids), facts)
    storage.write_json(figures_uri, found)
    storage.write_bytes(report_uri, page.encode())
    record.write_into(out_uri)
    return report_uri


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("compare-labels", CompareLabels, compare_labels, argv)


if __name__ == "__main__":
    sys.exit(main())
