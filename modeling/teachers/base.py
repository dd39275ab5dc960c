"""The face-emotion teacher, whatever network it holds: uint8 face crops in, raw logits of eight emotions out.

Shape letters: N faces, E = 8 emotions, H = W pixels.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from modeling.emotions import EMOTIONS
from modeling.layers import channels_last
from modeling.precision import autocast

BATCH_FACES = {"cpu": 64, "cuda": 512}
"""Faces per forward pass by type of device; a quarter of it for pictures above 112 pixels, to save memory. On one core of a
Xeon with AMX, the compact teacher takes 2.1 ms per face in batches of 32 to 96, 2.3 in batches of 128 and 2.4 in batches of
24 (minimum of five)."""


@dataclass(frozen=True)
class CropRule:
    """The crops a teacher wants: a square of `scale` times the face box, resized to side_px, grey or RGB."""

    side_px: int
    grey: bool
    scale: float

    @property
    def size_bytes(self) -> int:
        """Bytes of one crop."""
        return self.side_px**2 * (1 if self.grey else 3)


@dataclass(frozen=True)
class TeacherNetwork:
    """The network of a teacher, and how to use it.

    network: float (N, C, H, W) -> logits (N, E); prepare: its crops, uint8 (N, H, W) grey or (N, H, W, 3) RGB -> its
    input; masked: emotions it does not know, whose logits it gives as `MASKED_LOGIT`; flip_tta: whether logits are the
    mean over a face and its mirror image; follows_device: False for a network that runs where its own runtime puts it;
    classifier: its last layer, which sees the features of a face; None where that is not known.
    """

    network: nn.Module
    prepare: Callable[[Tensor], Tensor]
    crop_rule: CropRule
    masked: tuple[str, ...] = ()
    flip_tta: bool = False
    follows_device: bool = True
    classifier: nn.Module | None = None


class Teacher:
    """Face crops -> raw logits, with the identity that every label carries.

    fingerprint: name@sha256 of the weights file. precision: see `modeling.precision`. flip_tta: False for one view of each
    face even if the `TeacherNetwork` asks for two.
    """

    def __init__(
        self,
        name: str,
        weights: bytes,
        parts: TeacherNetwork,
        *,
        device: str | torch.device = "cpu",
        precision: str = "auto",
        flip_tta: bool = True,
    ):
        self.fingerprint = f"{name}@{hashlib.sha256(weights).hexdigest()}"
        self.crop_rule, self.masked, self.flip_tta = parts.crop_rule, parts.masked, parts.flip_tta and flip_tta
        self.parts = parts
        self.device = torch.device(device if parts.follows_device else "cpu")
        self.precision = precision
        self.network = parts.network.eval().requires_grad_(False)
        if parts.follows_device:
            self.network = channels_last(self.network.to(self.device))

    @property
    def batch_faces(self) -> int:
        """Faces per forward pass on its device."""
        return BATCH_FACES[self.device.type] // (1 if self.crop_rule.side_px <= 112 else 4)

    def __call__(self, crops: np.ndarray, batch_size: int | None = None) -> np.ndarray:
        """uint8 crops that follow `crop_rule`, (N, H, W) grey or (N, H, W, 3) RGB -> float32 logits (N, E)."""
        return self._in_batches(crops, lambda batch: batch, batch_size=batch_size)

    def logits_and_features(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits (N, E) of crops, and what the last layer sees of each, float32 (N, F), the mean of its views; None for a
        network whose last layer is not known."""
        if self.parts.classifier is None:
            return self(crops), None
        seen: list[Tensor] = []
        logits, features = [self(crops[:0])], list[np.ndarray]()
        hook = self.parts.classifier.register_forward_pre_hook(
            lambda _, given: seen.append(given[0].flatten(1).float())
        )
        with hook:
            for start in range(0, len(crops), self.batch_faces):
                seen.clear()
                logits.append(self(crops[start : start + self.batch_faces]))
                features.append(torch.stack(seen).mean(0).cpu().numpy())
        return np.concatenate(logits), np.concatenate(features) if features else None

    def faces(self, images_NHW: np.ndarray, after_batch: Callable[[int], object] = lambda faces: None) -> np.ndarray:
        """Grey pictures that show just the face, like FER+'s, of one size (uint8, N, H, W) -> logits (N, E).

        after_batch: called with the number of faces of each forward pass, for a progress bar.
        """
        return self._in_batches(images_NHW, lambda batch: fit(batch, self.crop_rule), after_batch)

    @torch.inference_mode()
    def _in_batches(
        self,
        pictures: np.ndarray,
        to_crops: Callable[[np.ndarray], np.ndarray],
        after_batch: Callable[[int], object] = lambda faces: None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        size = batch_size or self.batch_faces
        logits = [np.empty((0, len(EMOTIONS)), np.float32)]
        for start in range(0, len(pictures), size):
            crops = to_crops(pictures[start : start + size])
            logits.append(self.logits(self.prepared(crops)).float().cpu().numpy())
            after_batch(len(crops))
        return np.concatenate(logits)

    def prepared(self, crops: np.ndarray) -> Tensor:
        """uint8 crops -> the network's input (N, C, H, W), on its device."""
        return self.parts.prepare(torch.from_numpy(crops).to(self.device))

    def logits(self, x: Tensor) -> Tensor:
        """The network's input (N, C, H, W) -> logits (N, E), on its device and in its precision."""
        with autocast(self.device, self.precision):
            logits = self.network(x)
            return (logits + self.network(x.flip(-1))) / 2 if self.flip_tta else logits


def fit(images_NHW: np.ndarray, rule: CropRule) -> np.ndarray:
    """Grey faces (N, H, W) uint8 -> crops of the rule's size, (N, S, S) or (N, S, S, 3) uint8.

    Enlarging is bilinear (paper: 48 -> 224), shrinking averages areas.
    """
    side_px = rule.side_px
    shrinks = images_NHW.shape[1] > side_px
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if images_NHW.shape[1:] == (side_px, side_px):
        fitted = images_NHW
    else:
        resized = [cv2.resize(image, (side_px, side_px), interpolation=interpolation) for image in images_NHW]
        fitted = np.stack(resized) if resized else np.empty((0, side_px, side_px), np.uint8)
    return fitted if rule.grey else np.repeat(fitted[..., None], 3, axis=3)
