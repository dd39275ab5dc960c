"""What all benches share: their options, the machine and versions of a figure, and taking turns, so that all ways meet the
same disturbances."""

import dataclasses
import os
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from cluster import storage
from cluster.cores import local_cores
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.run_record import installed_versions
from cluster.working_tree import checked_out_commit
from pipeline.media.file_types import VIDEO_SUFFIXES
from pipeline.media.listing import list_media

Measured = TypeVar("Measured")


def hardware() -> dict[str, Any]:
    """CPU model, cores that this process may use, memory in GiB, names of the GPUs, and the current load."""
    return {
        "cpu": _cpu_model(),
        "cores": local_cores(),
        "ram_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": _gpu_names(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _gpu_names() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def interleaved(ways: Mapping[str, Callable[[], Measured]], repeats: int) -> dict[str, list[Measured]]:
    """Way -> the results of its calls. The ways take turns, in reverse order in every second round, so that a machine that is
    busy for a while slows all of them and not only the last."""
    results: dict[str, list[Measured]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            results[name].append(ways[name]())
    return results


def peak_memory_mb() -> float:
    """Peak resident memory of this process in 10^6 bytes (Linux).

    `ru_maxrss` would include what its parent process held when it started this one, here a manifest as Python lists.
    """
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024 / 1e6


def described(name: str, options: Any, figures: object) -> dict[str, Any]:
    """The figures of a bench as JSON, with everything that is needed to measure them again."""
    return {
        "bench": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(),
        "versions": installed_versions(),
        "commit": checked_out_commit(12, "-dirty"),
        "options": dataclasses.asdict(options),
        **json_ready(figures),
    }


def write_report(folder_uri: str, report: Mapping[str, Any]) -> str:
    """Writes `bench_NAME.json` into the folder. Returns its URI."""
    uri = storage.join(storage.absolute(folder_uri), f"bench_{report['bench']}.json")
    storage.write_json(uri, dict(report))
    return uri


def chosen_clips(folder: str, most: int | None) -> list[str]:
    """At most `most` videos of a folder on this machine, spread evenly over the list. Raises UserError if there are none."""
    if not storage.is_local(folder):
        raise UserError(f"{folder}: this bench measures files of this machine; copy some clips to a folder")
    paths = [file.uri for file in list_media(folder, VIDEO_SUFFIXES)]
    if not paths:
        raise UserError(f"{folder}: no video ({' '.join(VIDEO_SUFFIXES)}) is there; give a folder with some")
    wanted = min(most or len(paths), len(paths))
    return [paths[place * len(paths) // wanted] for place in range(wanted)]
