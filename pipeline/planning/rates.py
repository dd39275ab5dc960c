"""Makes `Rates` from measurements: a labelling run's run.json, bench_label.json, or rates in the JSON of a plan."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.failures import UserError
from modeling.sampling import FRAME_PERIOD_S
from modeling.teachers.catalogue import DEFAULT_TEACHER
from pipeline.dataset import distillation_set
from pipeline.labelling.placement import LabelPlan, Placing
from pipeline.labelling.record_stages import WORK
from pipeline.planning.capacity import Rates, seconds_an_utterance

REFERENCE = Path(__file__).with_name("reference_rates.json")
"""Rates for `scenes`, `face_tracks` and `wavs`; the file says how they were measured. They are another machine's."""

USUAL_START_S = 25.0

WORK_BEFORE = "from the first task to the last part"
"""The name of `WORK` in each run.json up to version 0.1.0."""

LABEL_OPTIONS = ("crop_workers", "teacher_workers", "gpus_per_teacher", "gpus_per_cropper")
"""Options of a labelling run which, with its `placing`, say how its work was distributed."""


def reference_rates(kind: str) -> Rates:
    """kind: `scenes`, in which faces must be found; `face_tracks`, 224x224 clips of one face each, as in VoxCeleb2; or `wavs`,
    with labels that exist."""
    return Rates(**json.loads(REFERENCE.read_text())[kind])


def read_rates(uri: str) -> Rates:
    """The rates in a file of one of the three kinds. Raises UserError for any other file."""
    content = storage.read_json(uri)
    try:
        if "rates" in content:
            known = {field.name for field in dataclasses.fields(Rates)}
            return Rates(**{name: value for name, value in content["rates"].items() if name in known})
        if content.get("bench") == "label":
            return rates_of_bench(content, uri)
        if content.get("job") in ("label", "import-labels"):
            return rates_of_run(content, uri)
        lack = "no labelling rates are in it"
    except (KeyError, TypeError, AttributeError) as error:
        lack = f"labelling rates are incomplete in it ({type(error).__name__}: {error})"
    raise UserError(
        f"{uri}: {lack}; give the run.json of a distillation set, bench_label.json, or the JSON that `emovox plan` printed"
    )


def steps_per_s(uri: str) -> float:
    """The student's steps per second in a bench_train.json, for the fastest number of workers."""
    content = storage.read_json(uri)
    if content.get("bench") != "train" or not content.get("workers"):
        raise UserError(f"{uri}: this is not a bench_train.json; write one with `emovox bench train --out FOLDER`")
    return max(one["steps_per_s"]["real"] for one in content["workers"].values())


def rates_of_bench(report: Mapping[str, Any], uri: str) -> Rates:
    """Rates from `emovox bench label`: the bare work of the floor, and as overhead the job's seconds over it."""
    work_s, clips = report["floor"]["work_s"], report["clips"]
    frames = report["frames"] / clips
    return Rates(
        source=f"{uri}: {report['hardware']['cpu']}, {report['date'][:10]}",
        utterance_s=frames * FRAME_PERIOD_S,
        faces=frames,
        decode_core_s=(work_s["decode"] + work_s["speech"]) / clips,
        detect_core_s=work_s["detect"] / clips,
        teacher_core_s=work_s["teacher"] / clips,
        overhead=max(1.0, report["over_floor"]),
        start_s=report["job"]["start_s"],
        images_per_s=_images_per_s(report),
    )


def _images_per_s(report: Mapping[str, Any]) -> float | None:
    """Images per second of the job's teacher on a GPU, if the bench ran with one."""
    return report["gpu"]["teachers"][DEFAULT_TEACHER]["images_per_s"] if report.get("gpu") else None


def rates_of_run(record: Mapping[str, Any], uri: str) -> Rates:
    """Rates from the run.json of a labelling run, which may have been resumed, and the set next to it. If the run had one
    machine to itself, its wall seconds give the overhead over the bare work; on a cluster the overhead stays 1."""
    counts, cores = record["counts"], record["machine"]["cpus"]
    _require_labels(counts, uri)
    rows = counts.get("worker_rows") or counts.get("stages", {}).get("write", {}).get("rows") or counts["rows"]
    folder = uri.rpartition("/")[0] or "."
    table = distillation_set.read_labels(folder, ["frames_sampled", "frame_indices"])
    frames_sampled = sum(filter(None, table["frames_sampled"].to_pylist()))
    faces = sum(len(chunk.flatten()) for chunk in table["frame_indices"].chunks)
    is_alone = counts.get("embedded", record["configuration"].get("address") is None)
    worked = {name: counts[f"worker_{name}_s"] for name in ("decode", "detect", "teacher")}
    fetch_s = counts.get("stages", {}).get("fetch", {}).get("seconds", 0.0)
    # on a fully loaded machine, a worker's second is less than a second of a core
    core_share = min(1.0, cores * record["seconds"] / (sum(worked.values()) or 1.0)) if is_alone else 1.0
    rates = Rates(
        source=_source(record, uri, rows, is_alone),
        utterance_s=frames_sampled / counts["labelled"] * FRAME_PERIOD_S,
        faces=faces / counts["labelled"],
        fetch_core_s=fetch_s * core_share / rows,
        decode_core_s=worked["decode"] * core_share / rows,
        detect_core_s=worked["detect"] * core_share / rows,
        teacher_core_s=worked["teacher"] * core_share / rows,
        bytes_in=_bytes_in(counts, rows),
        bytes_out=sum(file.size for file in _parts(folder)) / len(table),
    )
    return _with_overhead(rates, record, rows, cores) if is_alone else rates


def _require_labels(counts: Mapping[str, Any], uri: str) -> None:
    """Raises UserError for a run that does not tell how long other utterances would take."""
    if not counts["labelled"] or not counts.get("worker_decode_s"):
        raise UserError(
            f"{uri}: this run labelled nothing (it was complete already, or all were rejects); give another run"
        )
    if "retried" in counts:
        raise UserError(
            f"{uri}: this run labelled rejects again, which are not like the others; give the run.json of another set"
        )


def _source(record: Mapping[str, Any], uri: str, rows: int, is_alone: bool) -> str:
    """Where the rates come from, and what makes them unreliable."""
    repeated = max(0, record["counts"].get("stages", {}).get("decode", {}).get("rows", 0) - rows)
    where = f"{record['machine']['cpus']} cores" if is_alone else "a cluster"
    doubt = f"; {repeated} of them twice since a worker died, so that the overhead is too high"
    return f"{uri}: {rows} utterances, {where}, {record['started'][:10]}" + (doubt if repeated and is_alone else "")


def _with_overhead(rates: Rates, record: Mapping[str, Any], rows: int, cores: int) -> Rates:
    """Sets the overhead to the run's seconds, from first task to last part, over the ideal; its other seconds are the start."""
    options = record["configuration"]
    placing = Placing(**options.get("placing") or {})
    asked = {name: options[name] for name in LABEL_OPTIONS if name in options}
    asked |= {"crop_workers": options["workers"]} if "workers" in options else {}  # of import-labels
    croppers, *teacher = (stage.workers for stage in LabelPlan(**asked, placing=placing).stages(cores))
    teachers = sum(teacher)
    ideal_s = rows * max(
        seconds_an_utterance(rates, cores=cores, gpus=0, croppers=croppers, teachers=teachers).values()
    )
    stages_s = record["stages_s"]
    worked_s = stages_s.get(WORK, stages_s.get(WORK_BEFORE, max(0.0, record["seconds"] - USUAL_START_S)))
    return dataclasses.replace(rates, start_s=record["seconds"] - worked_s, overhead=max(1.0, worked_s / ideal_s))


def _parts(folder: str) -> list:
    return storage.list_files(distillation_set.parts_folder(folder), (".parquet",))


def _bytes_in(counts: Mapping[str, Any], rows: int) -> float | None:
    """Bytes of video per utterance. A run counts only files that it copies from an object store."""
    return (counts.get("stages", {}).get("fetch", {}).get("size_bytes") or 0) / rows or None
