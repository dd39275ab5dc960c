"""CSV files with a line for each utterance: who, which split, the dominant emotion, eight probabilities."""

import csv
import io

import pyarrow as pa

from cluster.csv_cells import harmless
from modeling.emotions import EMOTIONS
from pipeline.label_export.rows import emotions_of, probabilities_of

TEXTS = ("utterance_id", "speaker_id", "video_id", "split")
HEADER = (*TEXTS, "start_s", "end_s", "emotion", *EMOTIONS, "temperature")


class CsvShard:
    """One CSV file, in memory until it is whole."""

    def __init__(self, temperature: float):
        self._temperature = temperature
        self._text = io.StringIO(newline="")
        self._csv = csv.writer(self._text, lineterminator="\n")
        self._csv.writerow(HEADER)

    def add(self, rows: pa.Table) -> None:
        probabilities, emotions = probabilities_of(rows, self._temperature), emotions_of(rows)
        facts = rows.select([*TEXTS, "start_s", "end_s"]).to_pylist()
        for row, p_E, emotion in zip(facts, probabilities, emotions, strict=True):
            texts = [harmless(row[name]) for name in TEXTS]
            values = [f"{p:.6g}" for p in p_E.tolist()]
            self._csv.writerow(
                [*texts, row["start_s"], row["end_s"], EMOTIONS[emotion], *values, f"{self._temperature:g}"]
            )

    def content(self) -> bytes:
        return self._text.getvalue().encode()
