"""Who may open and decode media, so that a reject reason or a rule of time is changed in one place.

Benches measure other ways of decoding on purpose and are exempt.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [path for folder in ("cluster", "modeling", "pipeline", "jobs") for path in (ROOT / folder).rglob("*.py")]
TREES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for path in FILES
    if not path.is_relative_to(ROOT / "pipeline/benches")
}


def imports(tree: ast.Module) -> set[str]:
    """First names of all that a file imports, inside functions too."""
    plain = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return {
        name.split(".")[0] for name in plain + [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    }


def calls(tree: ast.Module) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def attributes(tree: ast.Module) -> set[str]:
    """Such as `av.open` or `packet.decode`, of all calls."""
    return {ast.unparse(call.func) for call in calls(tree) if isinstance(call.func, ast.Attribute)}


def streams_asked_for(tree: ast.Module) -> set[str]:
    return {
        ast.literal_eval(call.args[1])
        for call in calls(tree)
        if ast.unparse(call.func).endswith("best_stream") and isinstance(call.args[1], ast.Constant)
    }


def test_one_module_opens_media_files():
    assert [name for name, tree in TREES.items() if "av.open" in attributes(tree)] == ["pipeline/media/containers.py"]


def test_one_module_decodes_video_packets_and_one_decodes_sound():
    users = {name: tree for name, tree in TREES.items() if "av" in imports(tree)}
    decoders = {name for name, tree in users.items() if any(a.endswith(".decode") for a in attributes(tree))}
    assert decoders == {"pipeline/media/video_stream.py", "pipeline/media/speech.py"}
    assert {name for name in decoders if "audio" in streams_asked_for(TREES[name])} == {"pipeline/media/speech.py"}
    assert [name for name, tree in users.items() if "av.AudioResampler" in attributes(tree)] == [
        "pipeline/media/resampler.py"
    ]


def test_other_libraries_that_decode_video_are_called_in_one_module():
    others = [name for name, tree in TREES.items() if imports(tree) & {"decord", "torchcodec"}]
    assert others == ["pipeline/media/decord_frames.py"]
    assert not [name for name, tree in TREES.items() if "cv2.VideoCapture" in attributes(tree)]
