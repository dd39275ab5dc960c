"""What a run that makes a distillation set has to be told, whatever makes the rows: a teacher on faces, or labels that exist."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from cluster.tally import Counts
from pipeline.dataset.manifest import manifest_fingerprint
from pipeline.schema import SET_VERSION


@dataclass(frozen=True, kw_only=True)
class SetRequest(ABC):
    """A manifest, where its rows go, and how they are made; `pipeline.labelling.run.label` runs it."""

    manifest: pa.Table
    labels_uri: str
    retry_reasons: tuple[str, ...] = ()
    """Instead of what is missing, the rejects of these reasons are made, again."""
    watcher: Callable[[Counts], None] = lambda counts: None
    """Is given what each stage has done about once a second."""
    does: ClassVar[str] = "label"
    """What the run does, for its progress."""

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the rows; see `cluster.identity.claim`."""
        return {"schema_version": SET_VERSION, "manifest": manifest_fingerprint(self.manifest), **self.own_identity()}

    @abstractmethod
    def own_identity(self) -> dict[str, Any]:
        """What decides the rows beside the manifest."""

    @property
    @abstractmethod
    def crop_bytes(self) -> int:
        """Of one face crop on its way to the teacher; 0 where none travels."""

    @abstractmethod
    def to_crop(self) -> dict[str, Any]:
        """Arguments of `PartCropper`, but for `device` and `tally`. Called when Ray runs."""

    @abstractmethod
    def to_label(self) -> dict[str, Any]:
        """The arguments `labeller` and `teacher` of `PartWriter`. Called when Ray runs."""

    def task_rows(self, utterances: pa.Table) -> pa.Table:
        """What a worker is sent of these rows of the manifest."""
        return utterances
