"""The utterances of a set that a student can use, as a filter of tables and as a Ray dataset."""

from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from pipeline.dataset.distillation_set import set_parts
from pipeline.dataset.part_file import read_part_file
from pipeline.dataset.set_record import Part

FILTER_COLUMNS = ["split", "reject_reason", "speech_samples"]


USABLE = pc.field("reject_reason").is_null() & (pc.field("speech_samples") > 0)

OF_ONE_FACE = ~pc.coalesce(pc.field("face_is_ambiguous"), pc.scalar(False))
"""No other face was nearly as prominent as the labelled one, so that the voice is more likely to be its own."""
"""Utterances that a student can learn from or be scored on: labelled, and with speech. For a pyarrow table."""


def read_utterances(labels_uri: str, columns: list[str]) -> ray.data.Dataset:
    """Some columns of the usable rows of a set. Ray's tasks read part by part and check the columns' digests."""
    wanted = list(dict.fromkeys([*columns, *FILTER_COLUMNS]))

    def read(batch: pa.Table) -> pa.Table:
        (part,) = (Part(**row) for row in batch.to_pylist())
        return read_part_file(part.uri, wanted, seal=part.seal).table.filter(USABLE).select(columns)

    parts = ray.data.from_items([asdict(part) for part in set_parts(labels_uri)])
    return parts.map_batches(read, batch_size=1, batch_format="pyarrow")
