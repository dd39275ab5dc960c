"""How a face teacher is trained: the recipe as a frozen dataclass, its learning rate, and the named recipes."""

from bisect import bisect_right
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from modeling.faces.ferplus import SIDE_PX
from modeling.teacher_training.recipe_parts import FaceJitter, FineTuning, cosine_rate
from modeling.teachers.catalogue import PUBLISHED, CompactTeacherConfig

NETWORKS = ("compact", "mobilenet", *PUBLISHED)

FIRST_NAMES = {"soft_share": "soft_part", "cutout_share": "cutout_part"}
"""Fields of a recipe and of its jitter that have another name in files."""


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """Everything besides the data that determines the trained weights.

    network: "compact", "mobilenet", or a published network ("senet50_ferplus", "resnet50_ferplus")
    peak_lr: of SGD with momentum 0.9, Nesterov's for the compact network; of AdamW with `fine_tuning`
    lr_drops: epochs from which the rate is a tenth of what it was; decay_epochs: last epochs, in which it falls
    linearly to zero; warmup_epochs: first ones, in which it rises linearly, step by step
    body_lr_factor: part of the rate for all but the classifier (fine-tuning)
    small_epochs: epochs at small_side_px before the rest run at the network's full side
    jitter: of all but the published networks, which get the paper's augmentation
    mixup_alpha: Beta parameter of mixup, 0 for none; ema_decay: per step, of the weights that are saved, or None
    keep_best: save the epoch with the best validation accuracy (the paper) and not the last one
    soft_share: what share of each target comes from other teachers' probabilities, where there are any; the rest are votes
    fine_tuning: of the "mobilenet" network, None for the others; with it the rate falls along a cosine
    """

    network: str = "compact"
    compact: CompactTeacherConfig = field(default_factory=CompactTeacherConfig)
    epochs: int = 36
    batch_size: int = 128
    peak_lr: float = 0.1
    lr_drops: tuple[int, ...] = ()
    decay_epochs: int = 22
    warmup_epochs: float = 1
    body_lr_factor: float = 1.0
    weight_decay: float = 5e-4
    dropout: float = 0.0
    small_epochs: int = 24
    small_side_px: int = 40
    jitter: FaceJitter = field(default_factory=FaceJitter)
    mixup_alpha: float = 0.0
    ema_decay: float | None = 0.998
    keep_best: bool = False
    soft_share: float = 0.5
    fine_tuning: FineTuning | None = None
    seed: int = 0

    def __post_init__(self):
        if self.network not in NETWORKS:
            raise ValueError(f"network = {self.network!r}: choose one of {', '.join(NETWORKS)}")
        for name in ("epochs", "batch_size", "peak_lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)}: it must be above 0")
        if not 0 <= self.soft_share <= 1:
            raise ValueError(f"soft_share = {self.soft_share}: it must be between 0 and 1")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay = {self.ema_decay}: it must be between 0 and 1, or None")

    def as_written(self) -> dict[str, Any]:
        """For the identity of a training and the file of its teacher. The shares keep the names there that they had first, so
        that trainings begun by earlier versions go on; `fine_tuning`, which came later, is left out where there is none."""
        written = {FIRST_NAMES.get(name, name): value for name, value in asdict(self).items()}
        written |= {"jitter": {FIRST_NAMES.get(name, name): v for name, v in asdict(self.jitter).items()}}
        return {name: v for name, v in written.items() if (name, v) != ("fine_tuning", None)}

    def learning_rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of an optimiser step, counted from 0."""
        warmup = self.warmup_epochs * steps_per_epoch
        if self.fine_tuning is not None:
            return cosine_rate(self.peak_lr, step, warmup, self.epochs * steps_per_epoch)
        if step < warmup:
            return self.peak_lr * (step + 1) / warmup
        rate = self.peak_lr * 0.1 ** bisect_right(self.lr_drops, step // steps_per_epoch)
        left = self.epochs * steps_per_epoch - step
        return rate * min(1.0, left / (self.decay_epochs * steps_per_epoch)) if self.decay_epochs else rate

    def lasting(self, epochs: int) -> "TeacherRecipe":
        """The same recipe stretched to another number of epochs: everything in it happens at the same fraction of the
        whole."""

        def scaled(epoch: int) -> int:
            return round(epoch * epochs / self.epochs)

        return replace(
            self,
            epochs=epochs,
            lr_drops=tuple(map(scaled, self.lr_drops)),
            decay_epochs=max(1, scaled(self.decay_epochs)) if self.decay_epochs else 0,
            small_epochs=scaled(self.small_epochs),
        )

    def side_px(self, epoch: int) -> int:
        """Side of the training faces in one epoch, counted from 0, where the network takes more than one."""
        full = SIDE_PX if self.fine_tuning is None else self.fine_tuning.side_px
        return self.small_side_px if epoch < self.small_epochs else full


def compact() -> TeacherRecipe:
    """The recipe of the packaged weights."""
    return TeacherRecipe()


def second_round() -> TeacherRecipe:
    """A second round from trained weights: the rate rises again to 0.06 and falls to zero over all epochs."""
    return TeacherRecipe(epochs=24, peak_lr=0.06, decay_epochs=23, small_epochs=8)


def paper(network: str = "senet50_ferplus") -> TeacherRecipe:
    """The authors' fine-tuning (mcnCrossModalEmotions teacher/ferplus_baselines.m, ferPlusZoo.m), best epoch by validation.

    Start it from VGGFace2 weights: from random weights, a body that learns at a tenth of the rate gets nowhere.
    """
    return TeacherRecipe(
        network=network,
        epochs=180,
        peak_lr=0.01,
        lr_drops=(60, 120),
        decay_epochs=0,
        warmup_epochs=0,
        body_lr_factor=0.1,
        dropout=0.5,
        small_epochs=0,
        ema_decay=None,
        keep_best=True,
    )


def pretrained() -> TeacherRecipe:
    """All layers of a face recogniser, at 128 pixels, to which FER+'s 48 are enlarged."""
    return TeacherRecipe(
        network="mobilenet",
        epochs=10,
        batch_size=64,
        peak_lr=8e-4,
        decay_epochs=0,
        warmup_epochs=1,
        weight_decay=0.02,
        dropout=0.2,
        small_epochs=0,
        jitter=FaceJitter(rotation_deg=12, zoom=1.15, shift=0.05, gamma=1.5, cutout_share=0.3),
        fine_tuning=FineTuning(),
        ema_decay=0.999,
    )


def smoke() -> TeacherRecipe:
    """Two epochs of a tiny network: shows that everything works together, but learns little."""
    tiny = CompactTeacherConfig(stem=8, widths=(8, 16), blocks=(1, 1), embedding=16)
    return TeacherRecipe(compact=tiny, epochs=2, decay_epochs=1, small_epochs=1, ema_decay=0.9)


TEACHER_RECIPES = {
    "compact": compact,
    "second_round": second_round,
    "pretrained": pretrained,
    "paper": paper,
    "smoke": smoke,
}
