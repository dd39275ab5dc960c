"""Where network weights come from: names, paths, folders, addresses, torch's hub cache; and what a wrong file says."""

import hashlib
import io
import json
import zipfile

import pytest
import torch

from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from modeling.teachers.catalogue import PUBLISHED, packaged_weights
from modeling.teachers.published import FerPlusNetwork
from pipeline.assets.weights import detector_weights, read_weights, teacher_weights


def test_an_address_is_fetched_once(cache, web):
    folder, address, stop = web
    (folder / "x.pth").write_bytes(b"weights")
    assert read_weights(f"{address}/x.pth") == b"weights"
    stop()
    assert read_weights(f"{address}/x.pth") == b"weights"
    with pytest.raises(UserError, match=f"{address}/y.pth cannot be fetched.*give its path"):
        read_weights(f"{address}/y.pth")


def test_a_missing_page_is_no_weights_file(cache, web):
    _, address, _ = web
    with pytest.raises(UserError, match="404"):
        read_weights(f"{address}/none.pth")
    assert not list(cache.rglob("none.pth*"))


def test_a_published_teacher_comes_from_the_authors_address(cache, web, monkeypatch):
    folder, address, _ = web
    checkpoint = io.BytesIO()
    torch.save(FerPlusNetwork(gated=False).state_dict(), checkpoint)
    (folder / "resnet50_ferplus_dag.pth").write_bytes(checkpoint.getvalue())
    record = PUBLISHED["resnet50_ferplus"]
    monkeypatch.setitem(
        PUBLISHED, "resnet50_ferplus", type(record)(gated=False, url=f"{address}/resnet50_ferplus_dag.pth")
    )
    digest = hashlib.sha256(checkpoint.getvalue()).hexdigest()
    assert teacher_weights("resnet50_ferplus").fingerprint == f"resnet50_ferplus@{digest}"
    assert teacher_weights("resnet50_ferplus", sha256=digest.upper()).data == checkpoint.getvalue()
    with pytest.raises(UserError, match=f"has sha256 {digest}, expected 00"):
        teacher_weights("resnet50_ferplus", sha256="00")


def test_a_teacher_is_a_file_or_the_folder_of_its_training(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "teacher.safetensors").write_bytes(packaged_weights())
    for place in (tmp_path / "run", tmp_path / "run" / "teacher.safetensors"):
        assert teacher_weights(str(place)).data == packaged_weights()
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="a folder without teacher.pth or teacher.safetensors"):
        teacher_weights(str(tmp_path / "other"))
    with pytest.raises(UserError, match="neither a known teacher .compact, .* nor an existing file"):
        teacher_weights(str(tmp_path / "nowhere.pth"))


def test_torchscript_brings_its_description_beside_it(tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 7))
    torch.jit.script(network).save(str(tmp_path / "small.pt"))
    with pytest.raises(UserError, match=r"(?s)small.json beside the file.*side_px"):
        teacher_weights(str(tmp_path / "small.pt"))
    description = {"side_px": 4, "colour": "grey", "classes": EMOTIONS[:7]}
    (tmp_path / "small.json").write_text(json.dumps(description))
    weights = teacher_weights(str(tmp_path / "small.pt"))
    assert weights.name == "small" and json.loads(weights.description)["side_px"] == 4


def test_a_file_called_as_a_known_teacher_is_what_it_holds(tmp_path):
    (tmp_path / "senet50_ferplus").mkdir()
    (tmp_path / "senet50_ferplus" / "teacher.safetensors").write_bytes(packaged_weights())
    assert teacher_weights(str(tmp_path / "senet50_ferplus")).name == "senet50_ferplus_file"
    (tmp_path / "compact.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"(?s)compact.json beside the file.*side_px"):
        teacher_weights(str(tmp_path / "compact.onnx"))


def test_a_fetched_file_that_is_no_teacher_is_fetched_again(cache, web):
    folder, address, _ = web
    (folder / "mine.safetensors").write_bytes(packaged_weights()[:1000])
    with pytest.raises(UserError, match="not a compact teacher checkpoint"):
        teacher_weights(f"{address}/mine.safetensors")
    (folder / "mine.safetensors").write_bytes(packaged_weights())
    assert teacher_weights(f"{address}/mine.safetensors").name == "mine"


@pytest.mark.parametrize("name", ["teacher.pth", "teacher.safetensors", "teacher.onnx"])
def test_a_foreign_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    (tmp_path / "teacher.json").write_text(json.dumps({"side_px": 4, "colour": "grey", "classes": EMOTIONS}))
    with pytest.raises(UserError, match=name):
        teacher_weights(str(tmp_path / name))


def test_the_large_detector_is_looked_for_where_its_package_keeps_it(tmp_path, monkeypatch):
    """torch's hub cache; the package publishes a zip around the checkpoint."""
    from retinaface.pre_trained_models import models

    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = models["resnet50_2020-07-20"].url.rsplit("/", 1)[1]
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "hub" / "checkpoints" / name, "w") as archive:
        archive.writestr("retinaface_resnet50.pth", b"the checkpoint")
    weights = detector_weights("resnet50")
    assert weights.data == b"the checkpoint"
    assert weights.fingerprint == f"resnet50@{hashlib.sha256(b'the checkpoint').hexdigest()}"
