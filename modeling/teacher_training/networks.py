"""What the training loop must know of each kind of network; a new kind is a class here and a name in `TRAINABLE`.

Shape letters: N images, H = W pixels.
"""

import io
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from modeling.teacher_training.augmentation import jittered
from modeling.teacher_training.fine_tuning import FineTuning, half_precision, layerwise_adamw
from modeling.teacher_training.paper_augmentation import paper_augment
from modeling.teacher_training.recipes import TeacherRecipe
from modeling.teachers.base import TeacherNetwork
from modeling.teachers.catalogue import PUBLISHED
from modeling.teachers.compact import CompactTeacher, compact_teacher, load_compact_teacher, save_compact_teacher
from modeling.teachers.mobilenet import (
    MobileNetConfig,
    MobileNetTeacher,
    mobilenet_teacher,
    prepare,
    save_mobilenet,
    settle_batch_norms,
    start_from,
)
from modeling.teachers.published import FerPlusNetwork, initialised_from, published_parts

Network = TypeVar("Network", bound=nn.Module)


class Trainable(Protocol[Network]):
    """One kind of network, with a recipe for it.

    file_name: of the trained network; half_precision: whether training runs in bfloat16 on this device.
    """

    file_name: str

    def new(self, init: bytes | None) -> Network:
        """Before its first step; the caller has seeded torch. Raises ValueError if `init` holds other weights."""
        ...

    def settle(self, network: Network, faces_NHW: Tensor) -> None:
        """Whatever the network must see of the training faces before its first step."""
        ...

    def augmented(self, faces_NHW: Tensor, epoch: int, rng: torch.Generator) -> Tensor:
        """uint8 faces (N, 48, 48) -> the network's input."""
        ...

    def optimizer(self, network: Network) -> torch.optim.Optimizer: ...

    def half_precision(self, device: torch.device) -> bool: ...

    def parts(self, network: Network) -> TeacherNetwork: ...

    def file(self, network: Network, meta: Mapping[str, Any]) -> bytes: ...


class CompactTraining:
    """The compact network: SGD with Nesterov's momentum."""

    file_name = "teacher.safetensors"

    def __init__(self, recipe: TeacherRecipe):
        self.recipe = recipe

    def new(self, init: bytes | None) -> CompactTeacher:
        if init is None:
            return CompactTeacher(self.recipe.compact)
        network = load_compact_teacher(init)
        if network.config != self.recipe.compact:
            raise ValueError(f"it holds a network of {network.config}, the recipe asks for {self.recipe.compact}")
        return network

    def settle(self, network: CompactTeacher, faces_NHW: Tensor) -> None: ...

    def augmented(self, faces_NHW: Tensor, epoch: int, rng: torch.Generator) -> Tensor:
        return jittered(faces_NHW, self.recipe.jitter, self.recipe.side_px(epoch), rng)

    def optimizer(self, network: CompactTeacher) -> torch.optim.Optimizer:
        return _momentum(network, network.classifier, self.recipe, nesterov=True)

    def half_precision(self, device: torch.device) -> bool:
        return device.type == "cuda"

    def parts(self, network: CompactTeacher) -> TeacherNetwork:
        return compact_teacher(network)

    def file(self, network: CompactTeacher, meta: Mapping[str, Any]) -> bytes:
        return save_compact_teacher(network, meta)


class PublishedTraining:
    """The authors' networks, fine-tuned as they did."""

    file_name = "teacher.pth"

    def __init__(self, recipe: TeacherRecipe):
        self.recipe = recipe

    def new(self, init: bytes | None) -> FerPlusNetwork:
        gated = PUBLISHED[self.recipe.network].gated
        if init is not None:
            return initialised_from(init, gated, self.recipe.seed, self.recipe.dropout)
        return FerPlusNetwork(gated, dropout=self.recipe.dropout)

    def settle(self, network: FerPlusNetwork, faces_NHW: Tensor) -> None: ...

    def augmented(self, faces_NHW: Tensor, epoch: int, rng: torch.Generator) -> Tensor:
        return paper_augment(faces_NHW, rng)

    def optimizer(self, network: FerPlusNetwork) -> torch.optim.Optimizer:
        return _momentum(network, network.classifier, self.recipe, nesterov=False)

    def half_precision(self, device: torch.device) -> bool:
        return device.type == "cuda"

    def parts(self, network: FerPlusNetwork) -> TeacherNetwork:
        return published_parts(network)

    def file(self, network: FerPlusNetwork, meta: Mapping[str, Any]) -> bytes:
        buffer = io.BytesIO()
        torch.save({name: tensor.cpu() for name, tensor in network.state_dict().items()}, buffer)
        return buffer.getvalue()


class MobileNetTraining:
    """A face recogniser, all of it fine-tuned."""

    file_name = "teacher.safetensors"

    def __init__(self, recipe: TeacherRecipe):
        self.recipe = recipe
        self.tuning = recipe.fine_tuning or FineTuning()

    def new(self, init: bytes | None) -> MobileNetTeacher:
        config = MobileNetConfig(side_px=self.tuning.side_px, dropout=self.recipe.dropout)
        network = MobileNetTeacher(config)
        if init is not None:
            start_from(network, init)
        return network

    def settle(self, network: MobileNetTeacher, faces_NHW: Tensor) -> None:
        settle_batch_norms(network, prepare(faces_NHW[: self.tuning.settling_faces], self.recipe.side_px(0)))

    def augmented(self, faces_NHW: Tensor, epoch: int, rng: torch.Generator) -> Tensor:
        side_px = self.recipe.side_px(epoch)
        return jittered(faces_NHW, self.recipe.jitter, side_px, rng, lambda faces: prepare(faces, side_px))

    def optimizer(self, network: MobileNetTeacher) -> torch.optim.Optimizer:
        recipe = self.recipe
        return layerwise_adamw(network, self.tuning, peak_lr=recipe.peak_lr, weight_decay=recipe.weight_decay)

    def half_precision(self, device: torch.device) -> bool:
        return half_precision(device)

    def parts(self, network: MobileNetTeacher) -> TeacherNetwork:
        return mobilenet_teacher(network)

    def file(self, network: MobileNetTeacher, meta: Mapping[str, Any]) -> bytes:
        return save_mobilenet(network, meta)


TRAINABLE: dict[str, type[Trainable[Any]]] = {
    "compact": CompactTraining,
    "mobilenet": MobileNetTraining,
    **dict.fromkeys(PUBLISHED, PublishedTraining),
}
"""By the recipe's `network`."""


def trainable(recipe: TeacherRecipe) -> Trainable[Any]:
    return TRAINABLE[recipe.network](recipe)  # pyright: ignore[reportCallIssue]


def new_network(recipe: TeacherRecipe, init: bytes | None) -> nn.Module:
    """The network before its first step; weights that are drawn depend on the seed alone.

    Raises ValueError if `init` does not hold the weights of the recipe's network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return trainable(recipe).new(init)


def _momentum(
    network: nn.Module, classifier: nn.Module, recipe: TeacherRecipe, *, nesterov: bool
) -> torch.optim.Optimizer:
    """SGD with momentum 0.9; all but the classifier at `body_lr_factor` of the rate."""
    last = set(classifier.parameters())
    body = [p for p in network.parameters() if p not in last]
    groups = [
        {"params": body, "factor": recipe.body_lr_factor},
        {"params": list(classifier.parameters()), "factor": 1.0},
    ]
    return torch.optim.SGD(groups, lr=recipe.peak_lr, momentum=0.9, nesterov=nesterov, weight_decay=recipe.weight_decay)
