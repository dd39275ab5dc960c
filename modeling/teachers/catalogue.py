"""The teachers that have a name, and what determines the architecture of the compact one. Nothing is loaded here."""

from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, kw_only=True)
class CompactTeacherConfig:
    """stem: channels at 48 pixels; widths, blocks: channels and residual blocks of the stages at 24, 12 and 6 pixels."""

    stem: int = 32
    widths: tuple[int, ...] = (48, 96, 192)
    blocks: tuple[int, ...] = (1, 2, 2)
    embedding: int = 256
    dropout: float = 0.2


@dataclass(frozen=True)
class PublishedNetwork:
    """gated: a SENet (squeeze and excitation after each block), otherwise a ResNet; url: the authors' weights."""

    gated: bool
    url: str


_FOLDER = "http://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn"

PUBLISHED = {
    "senet50_ferplus": PublishedNetwork(gated=True, url=f"{_FOLDER}/senet50_ferplus_dag.pth"),
    "resnet50_ferplus": PublishedNetwork(gated=False, url=f"{_FOLDER}/resnet50_ferplus_dag.pth"),
}

PACKAGED = {"compact": "compact_teacher.safetensors"}
"""Teachers whose weights come with the project, and their files in `modeling/teachers/weights`."""

DEFAULT_TEACHER = "compact"

TEACHERS = (*PACKAGED, *PUBLISHED)
"""Names of teachers that need no file: the packaged ones, and the authors' at their URLs."""


def packaged_weights(name: str = DEFAULT_TEACHER) -> bytes:
    return (resources.files("modeling.teachers") / "weights" / PACKAGED[name]).read_bytes()
