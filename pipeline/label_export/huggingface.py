"""Parquet files as the library `datasets` writes and reads them: speech as a column of type Audio.

The schema's metadata `huggingface` tell the types that Arrow has no name for. Lists are called "Sequence" there: versions of
`datasets` before 4 know no other name, later ones read it as List.
"""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from modeling.emotions import EMOTIONS
from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.label_export.rows import emotions_of, probabilities_of
from pipeline.label_export.webdataset import key_of

ROWS_A_GROUP = 100
"""Rows that a reader has to fetch together: about 10 MB of speech."""

FLOAT = {"dtype": "float32", "_type": "Value"}
EIGHT = {"feature": FLOAT, "length": len(EMOTIONS), "_type": "Sequence"}
FEATURES: dict[str, Any] = {
    "utterance_id": {"dtype": "string", "_type": "Value"},
    "audio": {"sampling_rate": SAMPLE_RATE_HZ, "_type": "Audio"},
    "speaker_id": {"dtype": "string", "_type": "Value"},
    "video_id": {"dtype": "string", "_type": "Value"},
    "start_s": {"dtype": "float64", "_type": "Value"},
    "end_s": {"dtype": "float64", "_type": "Value"},
    "emotion": {"names": list(EMOTIONS), "_type": "ClassLabel"},
    "probabilities": EIGHT,
    "logits": EIGHT,
    "frame_logits": {"feature": {"feature": FLOAT, "_type": "Sequence"}, "_type": "Sequence"},
    "frame_indices": {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "Sequence"},
    "face_is_ambiguous": {"dtype": "bool", "_type": "Value"},
    "teacher": {"dtype": "string", "_type": "Value"},
}
_EIGHT = pa.list_(pa.float32(), len(EMOTIONS))
SCHEMA = pa.schema(
    [
        pa.field("utterance_id", pa.string()),
        pa.field("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("speaker_id", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("emotion", pa.int64()),
        pa.field("probabilities", _EIGHT),
        pa.field("logits", _EIGHT),
        pa.field("frame_logits", pa.list_(pa.list_(pa.float32()))),
        pa.field("frame_indices", pa.list_(pa.int32())),
        pa.field("face_is_ambiguous", pa.bool_()),
        pa.field("teacher", pa.string()),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)


class ParquetShard:
    """One parquet file, in memory until it is whole."""

    def __init__(self, temperature: float):
        self._temperature = temperature
        self._sink = pa.BufferOutputStream()
        self._writer = pq.ParquetWriter(self._sink, SCHEMA, compression="zstd")

    def add(self, rows: pa.Table) -> None:
        rows = rows.combine_chunks()
        paths = pa.array([f"{key_of(id)}.flac" for id in rows["utterance_id"].to_pylist()], pa.string())
        audio = pa.StructArray.from_arrays([_whole(rows["speech_flac"]), paths], ["bytes", "path"])
        made = {
            "audio": audio,
            "emotion": pa.array(emotions_of(rows), pa.int64()),
            "probabilities": _lists_of_eight(pa.array(probabilities_of(rows, self._temperature).ravel())),
            "logits": _lists_of_eight(_whole(rows["logits"]).flatten()),
        }
        columns = [made[name] if name in made else rows[name] for name in SCHEMA.names]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), row_group_size=ROWS_A_GROUP)

    def content(self) -> bytes:
        self._writer.close()
        return self._sink.getvalue().to_pybytes()


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _lists_of_eight(values: pa.Array) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(values, len(EMOTIONS))
