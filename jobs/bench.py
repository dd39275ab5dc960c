"""Measures the speed of the program's parts, each next to its floor and a peer: `emovox bench label|decode|train|scale|start`."""

import importlib
import logging
import sys
from collections.abc import Sequence
from typing import Any

from cluster.command import run_job
from cluster.help_output import help_to_any_reader
from cluster.run_record import RunRecord
from pipeline.benches import measurements
from pipeline.benches import options as bench_options
from pipeline.benches.measuring import described, write_report

log = logging.getLogger(__name__)

BENCHES = {
    "label": "labelling, compared with the bare networks on the same files and with a plain script",
    "decode": "decord, PyAV and torchcodec on the same clips: all frames and every 6th",
    "train": "training, compared with one batch held in memory and with plain torchrun",
    "scale": "1.2 million utterances without the media work: the plan, the driver's memory, continuing after a stop",
    "start": "how soon help and a short prediction come, compared with the import of torch",
}
USAGE = "\n".join(
    [
        "usage: emovox bench NAME [options]",
        "",
        "Measures a part of the program. Each figure is compared with a floor (the bare work) and a peer (how to do it",
        "without this program). They take turns in the same run, so the ratios also hold on a busy machine. The last",
        "line of stdout is one JSON object. With --out FOLDER, it is also written to FOLDER/bench_NAME.json, with date,",
        "hardware, versions, commit and options.",
        "",
        "benches:",
        *(f"  {name:<8} {what}" for name, what in BENCHES.items()),
        "",
        "`emovox bench NAME --help` explains a bench; each takes --out FOLDER and --record, train and scale --address RAY.",
        "`emovox plan --rates bench_label.json` turns the figures of `label` into hours and nodes.",
    ]
)


def bench(name: str, argv: Sequence[str]) -> int:
    """Imports and runs one bench; its options are known without it."""

    def measured(options: Any, record: RunRecord) -> dict[str, Any]:
        if options.record:
            measurements.require_appendable(options.record_file)
        module = importlib.import_module(f"pipeline.benches.{name}")
        report = described(name, options, getattr(module, f"bench_{name}")(options, record))
        if options.out:
            log.info("wrote %s", write_report(options.out, report))
        if options.record:
            notes = measurements.changed_options(options)
            rows = measurements.headlines(report, module.UNITS, notes=notes)
            measurements.append(options.record_file, rows)
            log.info("appended %d rows to %s", len(rows), options.record_file)
        return report

    return run_job(f"bench {name}", getattr(bench_options, f"Bench{name.capitalize()}"), measured, argv)


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in BENCHES:
        return bench(words[0], words[1:])
    if words and words[0] in ("-h", "--help", "help"):
        with help_to_any_reader():
            print(USAGE)
        raise SystemExit(0)
    problem = f"emovox bench: there is no bench {words[0]!r}\n\n" if words else ""
    print(problem + USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
