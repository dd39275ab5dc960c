"""`run.json`: a job's options, versions and inputs, what it counted, and how long each stage took."""

import contextlib
import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

from cluster import storage
from cluster.cores import local_cores
from cluster.json_values import json_ready
from cluster.redaction import redacted_values

RECORDED_PACKAGES = tuple(
    "emovox ray torch torchaudio pyarrow av decord retinaface-pytorch numpy scikit-learn opensmile onnxruntime".split()
)


def installed_versions() -> dict[str, str]:
    """Package -> version, for Python and the installed ones of `RECORDED_PACKAGES`."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


class RunRecord:
    """Collects the facts of one job and writes them beside its output.

    stages: name -> wall seconds. inputs: name -> what identifies the input (a fingerprint, a recipe, the identity of a
    set). counts: name -> a count. Inputs and counts may be any value that `json_ready` takes.
    """

    def __init__(self, job: str, configuration: Any):
        """configuration: the dataclass of the job's options. Signatures and passwords in addresses are kept out of the record."""
        self.job = job
        self.configuration: dict[str, Any] = redacted_values(dataclasses.asdict(configuration))
        self.started = time.time()
        self.stages: dict[str, float] = {}
        self.inputs: dict[str, Any] = {}
        self.counts: dict[str, Any] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Adds the wall time of the block to stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - start

    def seconds(self) -> float:
        return time.time() - self.started

    def as_dict(self) -> dict[str, Any]:
        """The content of run.json."""
        content = {
            "job": self.job,
            "started": datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds(), 3),
            "configuration": self.configuration,
            "versions": installed_versions(),
            "machine": {"cpus": local_cores(), "platform": platform.platform(terse=True)},
            "inputs": self.inputs,
            "stages_s": {name: round(seconds, 3) for name, seconds in self.stages.items()},
            "counts": self.counts,
        }
        return redacted_values(json_ready(content))

    def write_into(self, folder_uri: str) -> None:
        """Writes `OUT/run.json` for an output that is a folder."""
        storage.write_json(storage.join(folder_uri, "run.json"), self.as_dict())

    def write_beside(self, file_uri: str) -> None:
        """Writes `NAME.run.json` for an output that is one file `NAME.parquet`."""
        storage.write_json(storage.record_name(file_uri), self.as_dict())
