"""The ways a data set can lie in a folder or below an s3 prefix: a name for each, and the reader of its manifest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cluster import storage
from cluster.failures import UserError
from pipeline.dataset.manifest import as_manifest
from pipeline.indexing import clips, voxceleb1, voxceleb2
from pipeline.indexing.clips import ClipsOptions
from pipeline.indexing.voxceleb1 import VoxCeleb1Options
from pipeline.indexing.voxceleb2 import VoxCeleb2Options
from pipeline.media.file_types import VIDEO_SUFFIXES
from pipeline.media.listing import list_media


@dataclass(frozen=True)
class Layout:
    """How one kind of data set is read."""

    read: Callable[[list[storage.StoredFile], str, Any], dict[str, Any]]
    """Files (sorted by URI), the prefix they lie below, and `options`, to the columns of the manifest."""
    options: type[Any]
    """A dataclass; `emovox index` shows its fields as `--NAME.FIELD`."""
    suffixes: tuple[str, ...]
    """Lower case; other files are ignored."""
    expects: str
    """What should lie below the prefix, for a person who pointed at the wrong place."""


LAYOUTS = {  # the command line takes names and options from here
    "clips": Layout(clips.read_clips, ClipsOptions, VIDEO_SUFFIXES, clips.EXPECTS),
    "voxceleb1": Layout(voxceleb1.read_voxceleb1, VoxCeleb1Options, voxceleb1.SUFFIXES, voxceleb1.EXPECTS),
    "voxceleb2": Layout(voxceleb2.read_voxceleb2, VoxCeleb2Options, voxceleb2.SUFFIXES, voxceleb2.EXPECTS),
}


def build_manifest(data_uri: str, layout: str, options: object | None = None) -> pa.Table:
    """The manifest of the data below `data_uri`; `options` are those of the layout, None for its defaults.

    The prefix is listed once. What was found but gives no utterance is counted in the log, never dropped in silence.
    Raises UserError for an unknown layout, and for a place that is empty, unreadable or laid out otherwise.
    """
    if layout not in LAYOUTS:
        raise UserError(f"layout {layout!r} is not known; use one of {', '.join(LAYOUTS)}")
    kind = LAYOUTS[layout]
    prefix = storage.absolute(data_uri)
    try:
        files = list_media(prefix, kind.suffixes)
    except UserError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise UserError(f"{error}. The layout {layout} expects there: {kind.expects}") from error
    columns = kind.read(files, prefix, options or kind.options())
    if not len(columns["utterance_id"]):
        raise UserError(f"{data_uri}: no utterances found; the layout {layout} expects there: {kind.expects}")
    return as_manifest(columns, data_uri)
