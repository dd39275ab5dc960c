"""`emovox serve` as it is started: without Ray in one process, with Ray in replicas; and how it ends."""

import json
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import requests
import soundfile

from jobs.serve import main
from tests.support.job_calls import problem_of_job


@pytest.fixture
def sound(tmp_path) -> bytes:
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * 16_000)
    soundfile.write(tmp_path / "v.wav", noise, 16_000)
    return (tmp_path / "v.wav").read_bytes()


@pytest.fixture
def small_student_file(tmp_path):
    import torch

    from modeling.students.build import StudentConfig, build_student
    from modeling.students.checkpoint import save_student

    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_student(
            build_student(StudentConfig(widths=(8, 16, 16), embedding=32)).eval(), tmp_path / "s.safetensors", {}
        )
    return tmp_path / "s.safetensors"


class Served:
    """The command as a process, once it takes requests."""

    def __init__(self, *options: object):
        command = [
            sys.executable,
            "-c",
            "import sys; from jobs.serve import main; code = main(); print(sorted(sys.modules)); sys.exit(code)",
        ]
        words = [*command, *map(str, options)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"open (http://\S+) in a browser", line):
                self.address = found[1]
                return
        pytest.fail("".join(self.log))

    def interrupted(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out


def test_it_answers_without_ray_until_it_is_interrupted(small_student_file, sound):
    served = Served("--student", small_student_file, "--port", 0)
    answer = requests.post(f"{served.address}predict?name=v.wav", data=sound)
    assert answer.status_code == 200 and answer.json()["file"] == "v.wav"
    assert "no-token" not in requests.get(served.address).text
    code, out = served.interrupted()
    result, modules = out.splitlines()
    assert code == 0 and json.loads(result)["seconds"] > 0
    assert "'ray'" not in modules and "'matplotlib'" not in modules


def test_beyond_this_machine_it_makes_up_a_token(small_student_file, sound):
    served = Served("--student", small_student_file, "--port", 0, "--host", "0.0.0.0")
    found = re.fullmatch(r"http://ADDRESS-OF-THIS-MACHINE:(\d+)/\?token=(\S{20,})", served.address)
    assert found, served.address
    address = f"http://127.0.0.1:{found[1]}"
    assert requests.post(f"{address}/predict", data=sound).status_code == 401
    assert requests.post(f"{address}/predict?token={found[2]}", data=sound).status_code == 200
    assert served.interrupted()[0] == 0


def test_a_port_that_is_taken_is_told_in_one_line(small_student_file, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = problem_of_job(capfd, "serve", ["--student", str(small_student_file), "--port", str(port)])
    assert f"--port {port}: nothing can listen there (Address already in use)" in line


@pytest.mark.parametrize(
    ("options", "told"), [(["--port", "70000"], "give 0 to 65535"), (["--gpu"], "wants --replicas")]
)
def test_what_cannot_be_is_told(options, told, capfd):
    with pytest.raises(SystemExit):
        main(options)
    assert told in capfd.readouterr().err


@pytest.mark.slow
def test_replicas_of_ray_serve_answer_the_same(small_student_file, sound):
    alone = Served("--student", small_student_file, "--port", 0)
    expected = requests.post(f"{alone.address}predict?timeline=1", data=sound).json()
    alone.interrupted()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = Served("--student", small_student_file, "--port", port, "--replicas", 2)
    answer = requests.post(f"{served.address}predict?timeline=1", data=sound).json()
    for name, value in expected.items():
        assert (
            answer[name] == (pytest.approx(value, abs=1e-4) if isinstance(value, float) else value)
            or name == "timeline"
        )
    assert len(answer["timeline"]) == len(expected["timeline"])
    code, _ = served.interrupted()
    assert code == 0
