"""What a training goes on from: OUT/training_state.pt, written after every epoch beside the trained network's own file."""

import io
from dataclasses import dataclass
from typing import Any, Self

import torch

from cluster import storage

STATE_FILE = "training_state.pt"


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """trainer: what the trainer's `load_state` takes; history: what was measured after each epoch; best: the file of the best
    network so far, empty before there is one."""

    trainer: dict[str, Any]
    history: list[dict[str, Any]]
    best: bytes

    @property
    def epoch(self) -> int:
        """Epochs done."""
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
        """Reads files of earlier commits too, where the history is called curve."""
        saved = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        history = saved["history"] if "history" in saved else saved["curve"]
        return cls(trainer=saved["trainer"], history=history, best=saved["best"].numpy().tobytes())


def read_state(output_uri: str) -> TrainingState | None:
    """The last saved state in a training's folder, or None before the first."""
    uri = storage.join(output_uri, STATE_FILE)
    return TrainingState.from_bytes(storage.read_bytes(uri)) if storage.exists(uri) else None
