"""What a page says besides its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ClipSource:
    """The source of a video on the page."""

    name: str
    source: str
    licence: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """Facts for a page that are not in its tables. Those that are not given are left out of the page.

    seconds: wall seconds of each stage; teacher, detector: names as in the distillation set; versions: package -> version;
    configuration: name -> value, may be nested; files: name -> path.
    """

    title: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    teacher: str | None = None
    detector: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)
    clips: Sequence[ClipSource] = ()
    files: Mapping[str, str] = field(default_factory=dict)
