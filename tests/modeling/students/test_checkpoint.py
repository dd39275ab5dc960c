import io
import json

import pytest
import torch
from safetensors.torch import save

from modeling.state_dicts import read_safetensors
from modeling.students.build import StudentConfig, build_student
from modeling.students.checkpoint import load_student, save_student

CONFIG = StudentConfig(widths=(8, 16, 16), embedding=32)


@pytest.fixture
def student():
    torch.manual_seed(0)
    student = build_student(CONFIG)
    student(torch.randint(-3000, 3000, (4, 20_000), dtype=torch.int16))  # moves the running statistics
    return student


def saved(student, meta=None) -> bytes:
    file = io.BytesIO()
    save_student(student, file, meta or {})
    return file.getvalue()


def test_a_student_comes_back_with_its_answers_its_config_and_its_history(student, tmp_path):
    save_student(student, tmp_path / "student.safetensors", {"epoch": 3, "auc": {"fear": None}})
    clip = torch.randint(-3000, 3000, (50_000,), dtype=torch.int16)
    for source in (
        tmp_path / "student.safetensors",
        str(tmp_path / "student.safetensors"),
        saved(student, {"epoch": 3, "auc": {"fear": None}}),
    ):
        loaded = load_student(source)
        assert not loaded.training and loaded.config == CONFIG and loaded.meta == {"epoch": 3, "auc": {"fear": None}}
        assert torch.equal(loaded.logits_of_clip(clip), student.logits_of_clip(clip))
        assert torch.equal(loaded.embed(clip, 16_000), student.embed(clip, 16_000))


def test_a_damaged_file_is_named_with_the_next_step(student, tmp_path):
    good = saved(student)
    path = tmp_path / "student.safetensors"
    for bad in (b"", b"\x00" * 40, good[:100], good[:-1], b"RIFF" + good):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"student\.safetensors: damaged.*copy it again"):
            load_student(path)


def test_a_foreign_safetensors_file_is_named(student):
    with pytest.raises(ValueError, match="not a student"):
        load_student(save({"weight": torch.zeros(3)}))
    with pytest.raises(ValueError, match="not a student"):
        load_student(save({"weight": torch.zeros(3)}, {"format": "pt"}))


def test_weights_of_another_config_are_named(student):
    other = build_student(StudentConfig(widths=(8, 16, 24), embedding=32))
    other.config = CONFIG
    with pytest.raises(ValueError, match="do not fit"):
        load_student(saved(other))


@pytest.mark.parametrize(
    "claimed", [{"embedding": 10**13}, {"widths": [10**7] * 3}, {"embedding": 10**30}, {"embedding": -1}]
)
def test_a_config_that_claims_more_than_the_file_holds_takes_no_memory(student, claimed):
    file = io.BytesIO()
    save_student(student, file, {})
    tensors, header = read_safetensors(file.getvalue())
    lying = save(tensors, header | {"config": json.dumps(json.loads(header["config"]) | claimed)})
    with pytest.raises(ValueError, match="its config and its weights do not fit") as found:
        load_student(lying)
    assert "allocate" not in str(found.value)


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_student(tmp_path / "none.safetensors")
