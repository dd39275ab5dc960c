"""The commands. `pipeline`, `cluster` and `modeling` are ours, whatever lies on PYTHONPATH or where one is started."""

import importlib.util
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def _is_ours(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None and Path(spec.origin).parents[1] == _ROOT


if not all(map(_is_ours, ("cluster", "modeling", "pipeline"))):
    sys.path.insert(0, str(_ROOT))

from cluster import process_start  # noqa: E402  only now is it ours

process_start.open_missing_streams()
if found := process_start.problem():
    sys.exit(f"emovox: {found}")
