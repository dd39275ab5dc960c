"""The utterances of a set that a student can use: as a filter of tables, part by part, and as a Ray dataset."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.distillation_set import set_parts
from pipeline.dataset.part_file import read_part_file
from pipeline.dataset.set_record import Part

if TYPE_CHECKING:
    from ray.data import Dataset

FILTER_COLUMNS = ["split", "reject_reason", "speech_samples"]


USABLE = pc.field("reject_reason").is_null() & (pc.field("speech_samples") > 0)

OF_ONE_FACE = ~pc.coalesce(pc.field("face_is_ambiguous"), pc.scalar(False))
"""No other face was nearly as prominent as the labelled one, so that the voice is more likely to be its own."""
"""Utterances that a student can learn from or be scored on: labelled, and with speech. For a pyarrow table."""


def usable_rows(part: Part, columns: list[str]) -> pa.Table:
    """Some columns of the usable rows of one part, compared with its digests."""
    wanted = list(dict.fromkeys([*columns, *FILTER_COLUMNS]))
    return read_part_file(part.uri, wanted, seal=part.seal).table.filter(USABLE).select(columns)


def read_utterances(labels_uri: str, columns: list[str]) -> "Dataset":
    """`usable_rows` of a whole set, which Ray's tasks read part by part."""
    import ray.data

    def read(batch: pa.Table) -> pa.Table:
        (part,) = (Part(**row) for row in batch.to_pylist())
        return usable_rows(part, columns)

    parts = ray.data.from_items([asdict(part) for part in set_parts(labels_uri)])
    return parts.map_batches(read, batch_size=1, batch_format="pyarrow")
