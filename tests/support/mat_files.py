"""Files like the authors' senet50-ferplus-logits.mat, of both kinds, with logits that a formula gives.

Version 5 is SciPy's own writing; 7.3 is written with h5py as MATLAB does it: arrays transposed, cells as references into
`#refs#`, empty arrays as their dimensions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from modeling.sampling import FRAME_PERIOD_S

NOTHING = np.zeros((0, 0), np.float32)


def formula(number: int, seconds: float) -> np.ndarray:
    """logits_NE of wav `number` (from 0), a row each 0.24 s: no two values of all wavs are the same."""
    pictures = round(seconds / FRAME_PERIOD_S)
    grid = np.arange(pictures)[:, None] * 8 + np.arange(8)
    return (number + np.sin(1 + number + grid) + grid / 4096).astype(np.float32)


def cells(values: Sequence) -> np.ndarray:
    """A 1 x N cell array for SciPy."""
    row = np.empty((1, len(values)), object)
    for k, value in enumerate(values):
        row[0, k] = value
    return row


def contents(logits: Mapping[str, np.ndarray], sets: Sequence[float] | None = None, frames: int = 3) -> dict:
    """What buildImdb saves. logits: name -> logits_NE; sets: of each (default: 1); frames: how many paths of pictures."""
    names = list(logits)
    images = {
        "denseFrames": cells([f"A/1.6/video/{k // 40}/{k:04d}.jpg" for k in range(frames)]).T,
        "denseFramesWavIds": np.arange(frames, dtype=np.float32)[:, None],
        "id": np.arange(1.0, len(names) + 1)[None],
        "name": cells(names),
        "set": np.asarray(sets if sets is not None else [1] * len(names), float)[None],
        "sp": np.ones((1, len(names))),
        "track": np.arange(1.0, len(names) + 1)[None],
        "video": cells([Path(name).parent.name for name in names]),
    }
    return {"images": images, "wavLogits": cells(list(logits.values()))}


def write_mat5(path: Path, content: dict, compressed: bool = True) -> Path:
    scipy.io.savemat(path, content, do_compression=compressed)
    return path


def write_mat73(path: Path, content: dict) -> Path:
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in content.items():
            _write(file, name, value, file.require_group("#refs#"))
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"
    with open(path, "r+b") as file:
        file.write(header)
    return path


def _write(place: h5py.Group, name: str, value, refs: h5py.Group) -> h5py.HLObject:
    if isinstance(value, dict):
        made = place.create_group(name)
        for field, inner in value.items():
            _write(made, field, inner, refs)
        kind = "struct"
    elif isinstance(value, str):
        made = place.create_dataset(name, data=np.frombuffer(value.encode("utf-16-le"), np.uint16)[:, None])
        kind = "char"
    elif value.dtype == object:
        made = place.create_dataset(name, value.T.shape, h5py.ref_dtype)
        made[...] = np.array(
            [_write(refs, f"{len(refs)}", each, refs).ref for each in value.ravel(order="F")], h5py.ref_dtype
        ).reshape(value.T.shape)
        kind = "cell"
    elif not value.size:
        made = place.create_dataset(name, data=np.array(value.shape, np.uint64))
        made.attrs["MATLAB_empty"] = np.uint8(1)
        kind = "single"
    else:
        made = place.create_dataset(name, data=value.T)
        kind = {"f4": "single", "f8": "double"}.get(value.dtype.str[1:], "double")
    made.attrs["MATLAB_class"] = np.bytes_(kind)
    return made


WRITERS = {
    "version 5": lambda path, content: write_mat5(path, content, compressed=False),
    "version 5, compressed": write_mat5,
    "version 7.3": write_mat73,
}
