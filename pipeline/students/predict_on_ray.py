"""The student on many files, spread over Ray's workers."""

from typing import cast

import pyarrow as pa
import ray

from cluster.actor_pools import actor_pool
from cluster.budget import Stage
from cluster.progress import progress
from cluster.session import session, wait_for_room, worker_cores
from cluster.worker_exit import arm_exit_alarm
from modeling.students.build import Student
from pipeline.students.file_prediction import ROWS_SCHEMA, PredictionOptions, prediction_of


class FilePredictor:
    """Ray Data callable: rows with `file` -> rows of `ROWS_SCHEMA`."""

    def __init__(self, student: ray.ObjectRef, options: PredictionOptions):
        arm_exit_alarm()
        self.student: Student = ray.get(student)
        self.options = options

    def __call__(self, rows: pa.Table) -> pa.Table:
        answers = [prediction_of(self.student, uri, self.options) for uri in rows["file"].to_pylist()]
        return pa.Table.from_pylist(answers, schema=ROWS_SCHEMA)


def predict_on_ray(student: Student, files: list[str], options: PredictionOptions, address: str | None) -> pa.Table:
    """One row of `ROWS_SCHEMA` for each file, in the order given."""
    with session(address), progress(len(files), "predict", "files") as bar:
        stage = Stage(name="student", workers=min(worker_cores(address), len(files)))
        wait_for_room([stage])
        batches = (
            ray.data.from_arrow([pa.table({"file": [file]}) for file in files])
            .map_batches(
                FilePredictor,
                fn_constructor_args=(ray.put(student), options),
                **actor_pool(stage, batch_size=None),
            )
            .iter_batches(batch_format="pyarrow", batch_size=None)
        )
        found = []
        for batch in batches:
            found.append(cast(pa.Table, batch).cast(ROWS_SCHEMA))
            bar.update(len(batch))
    order = {file: position for position, file in enumerate(files)}
    table = pa.concat_tables(found)
    return table.take(sorted(range(len(table)), key=lambda row: order[table["file"][row].as_py()]))
