import pytest

from cluster import storage
from cluster.failures import UserError
from cluster.identity import claim


def test_the_same_run_may_go_on(tmp_path):
    out = str(tmp_path / "out")
    claim(out, {"teacher": "compact@1", "widths": (8, 16)})
    storage.write_bytes(f"{out}/part", b"work")
    claim(out, {"teacher": "compact@1", "widths": (8, 16)})


def test_another_run_is_refused_and_says_what_differs(tmp_path):
    out = str(tmp_path / "out")
    claim(out, {"teacher": "compact@1", "seed": 0})
    with pytest.raises(UserError, match=r"different run \(teacher was 'compact@1', now 'compact@2'\)"):
        claim(out, {"teacher": "compact@2", "seed": 0})
    assert storage.read_json(f"{out}/identity.json") == {"teacher": "compact@1", "seed": 0}


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        claim(str(tmp_path), {"teacher": "compact@1"})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
