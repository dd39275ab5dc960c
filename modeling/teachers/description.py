"""What an external network file does not say about itself: the size, colour and scale of its input, and its classes.

It is read from JSON; `modeling/teachers/external.py` loads the network.
"""

import dataclasses
import json
import math
import typing
from dataclasses import dataclass
from typing import Literal

from modeling.emotions import EMOTIONS

SYNONYMS = {
    "neutral": ("natural", "normal"),
    "happiness": ("happy", "joy"),
    "surprise": ("surprised",),
    "sadness": ("sad",),
    "anger": ("angry",),
    "disgust": ("disgusted",),
    "fear": ("fearful", "afraid", "scared"),
    "contempt": ("contemptuous",),
}
"""Emotion -> other names for it in the class lists of public networks, regardless of case."""

EXAMPLE = """{
  "side_px": 64, "colour": "rgb", "scale": 0.00392156862745098,
  "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
  "classes": ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"],
  "outputs": "logits", "crop_scale": 1.0, "mirrored": false, "layout": "NCHW"
}"""


@dataclass(frozen=True, kw_only=True)
class TeacherDescription:
    """Input and output of a network. Raises a ValueError that names an impossible value and says what to give.

    side_px: height and width of its input; colour: order of its channels; channels: None means 1 for grey and 3 otherwise;
    grey is copied to 3 channels if the network wants 3; a pixel of 0-255 becomes (pixel * scale - mean) / std, where mean
    and std are one number or one per channel in the network's order; classes: names of its seven or eight outputs in
    order; crop_scale: side of the square it sees, relative to the longer side of the detected face box; mirrored: average
    the logits of a face and its mirror image; layout: order of its input's axes.
    """

    side_px: int
    colour: Literal["grey", "rgb", "bgr"]
    classes: tuple[str, ...]
    channels: int | None = None
    scale: float = 1.0
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    outputs: Literal["logits", "probabilities"] = "logits"
    crop_scale: float = 1.0
    mirrored: bool = False
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def __post_init__(self):
        for field in dataclasses.fields(self):
            choices = typing.get_args(field.type) if typing.get_origin(field.type) is Literal else ()
            _require(not choices or getattr(self, field.name) in choices, self, field.name, f"one of {list(choices)}")
        _require(type(self.side_px) is int and self.side_px > 0, self, "side_px", "a whole number of pixels, say 64")
        allowed = [1, 3] if self.colour == "grey" else [3]
        fits = self.channels is None or (type(self.channels) is int and self.channels in allowed)
        _require(fits, self, "channels", f"one of {allowed} for {self.colour}")
        object.__setattr__(self, "channels", self.channels or allowed[0])
        _require(_is_number(self.scale) and self.scale > 0, self, "scale", "a number above 0, such as 0.00392 (1/255)")
        _require(_is_number(self.crop_scale) and self.crop_scale > 0, self, "crop_scale", "a number above 0, such as 1")
        _require(type(self.mirrored) is bool, self, "mirrored", "true or false")
        for name in ("mean", "std"):
            value = getattr(self, name)
            numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
            fits = len(numbers) in (1, self.channels) and all(_is_number(number) for number in numbers)
            fits = fits and (name == "mean" or all(number > 0 for number in numbers))
            above = " above 0" if name == "std" else ""
            _require(fits, self, name, f"one number{above}, or one for each of the {self.channels} channels")
            object.__setattr__(self, name, numbers[0] if len(numbers) == 1 else numbers)
        classes: object = self.classes  # JSON may hold anything
        is_list = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in self.classes)  # pyright: ignore[reportUnnecessaryIsInstance]
        _require(is_list, self, "classes", "a list of class names in the order of the outputs")
        object.__setattr__(self, "classes", tuple(self.classes))
        _emotions_of(self.classes)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The project's name for each output, in the order of the outputs."""
        return _emotions_of(self.classes)

    @property
    def masked(self) -> tuple[str, ...]:
        """Emotions that the network does not know."""
        return tuple(emotion for emotion in EMOTIONS if emotion not in self.emotions)


def _require(fits: bool, description: TeacherDescription, name: str, wanted: str) -> None:
    if not fits:
        raise ValueError(f"{name} = {getattr(description, name)!r} does not fit; give {wanted}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _emotions_of(classes: tuple[str, ...]) -> tuple[str, ...]:
    known = {name: emotion for emotion, others in SYNONYMS.items() for name in (emotion, *others)}
    advice = "known are " + "; ".join(", ".join((emotion, *others)) for emotion, others in SYNONYMS.items())
    if unknown := [name for name in classes if name.strip().lower() not in known]:
        raise ValueError(f"classes {unknown} are not known; {advice}")
    emotions = tuple(known[name.strip().lower()] for name in classes)
    if doubles := [name for name, emotion in zip(classes, emotions, strict=True) if emotions.count(emotion) > 1]:
        raise ValueError(f"classes {doubles} name one emotion more than once; {advice}")
    if len(emotions) < len(EMOTIONS) - 1:
        raise ValueError(f"{len(classes)} classes {list(classes)}; a teacher needs at least seven; {advice}")
    return emotions


def read_description(text: bytes | str, where: str) -> TeacherDescription:
    """The description from its JSON; `where` names it in errors. Raises a ValueError that shows a complete example."""
    example = f"a complete description is\n{EXAMPLE}"
    if not text.strip():
        raise ValueError(f"{where}: the teacher's description is missing; {example}")
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error}); {example}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{where}: a description is one JSON object; {example}")
    fields = dataclasses.fields(TeacherDescription)
    if unknown := sorted(values.keys() - {field.name for field in fields}):
        raise ValueError(f"{where}: unknown keys {unknown}; known are {[field.name for field in fields]}; {example}")
    needed = [field.name for field in fields if field.default is dataclasses.MISSING]
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"{where}: keys {missing} are missing; {example}")
    try:
        return TeacherDescription(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
