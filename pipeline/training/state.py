"""The state that a training continues from: OUT/training_state.pt, written after every epoch."""

import io
from dataclasses import dataclass
from typing import Any, Self

import torch

from cluster import storage

STATE_FILE = "training_state.pt"


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """trainer: for the trainer's `load_state`; history: the metrics of each epoch; best: the file of the best network so
    far, empty if there is none yet."""

    trainer: dict[str, Any]
    history: list[dict[str, Any]]
    best: bytes

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.trainer["epoch"]

    def to_bytes(self) -> bytes:
        file = io.BytesIO()
        best = (
            torch.frombuffer(bytearray(self.best), dtype=torch.uint8)
            if self.best
            else torch.empty(0, dtype=torch.uint8)
        )
        torch.save({"trainer": self.trainer, "history": self.history, "best": best}, file)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Also reads files of earlier versions, which call the history `curve`."""
        saved = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        history = saved["history"] if "history" in saved else saved["curve"]
        return cls(trainer=saved["trainer"], history=history, best=saved["best"].numpy().tobytes())


def read_state(output_uri: str) -> TrainingState | None:
    """The last saved state in a training's folder, or None if there is none yet."""
    uri = storage.join(output_uri, STATE_FILE)
    return TrainingState.from_bytes(storage.read_bytes(uri)) if storage.exists(uri) else None
