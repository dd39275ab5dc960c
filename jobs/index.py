"""A folder or object-store prefix in a known layout -> a manifest, one row per utterance."""

import inspect
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from typing import Literal

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.run_record import RunRecord
from pipeline.dataset.manifest import manifest_fingerprint, write_manifest
from pipeline.indexing.layouts import LAYOUTS, build_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class IndexOptions(JobOptions):
    """Lists the videos below a prefix and writes the manifest: one row per utterance, with its speaker, span and split.

    The layout clips takes any folder of videos and cuts long ones into utterances; docs/layouts.md describes the others.
    """

    data: str
    """Folder or s3:// prefix that holds the videos."""
    out: str
    """Manifest to write (parquet), a path or s3:// URI."""
    layout: Literal[tuple(LAYOUTS)] = "clips"  # pyright: ignore[reportInvalidTypeForm]
    """How the files are arranged below the prefix; see docs/layouts.md."""


Index = make_dataclass(
    "Index",
    [(name, layout.options, field(default_factory=layout.options)) for name, layout in LAYOUTS.items()],
    bases=(IndexOptions,),
    namespace={"__doc__": inspect.getdoc(IndexOptions)},
    frozen=True,
    kw_only=True,
)
"""The options of the job, with the options of every layout under the layout's name."""


def index(options: IndexOptions, record: RunRecord) -> dict:
    storage.require_file_name(options.out)
    with record.stage("list and probe"):
        manifest = build_manifest(options.data, options.layout, getattr(options, options.layout))
    with record.stage("write"):
        write_manifest(manifest, options.out)
    splits = dict(Counter(manifest["split"].to_pylist()))
    record.inputs["manifest"] = manifest_fingerprint(manifest)
    record.counts |= {"utterances": len(manifest), "splits": splits}
    record.write_beside(storage.absolute(options.out))
    log.info("%d utterances in %s", len(manifest), options.out)
    return {
        "manifest": storage.absolute(options.out),
        "utterances": len(manifest),
        "videos": len(set(manifest["video_id"].to_pylist())),
        "speakers": len(set(manifest["speaker_id"].to_pylist())),
        "splits": splits,
        "seconds": round(record.seconds(), 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("index", Index, index, argv)


if __name__ == "__main__":
    sys.exit(main())
