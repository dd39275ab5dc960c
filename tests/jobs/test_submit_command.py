"""What `emovox submit` makes of a command line, a log and a dashboard, without a cluster."""

import http.server
import json
import threading

import pytest
from ray.job_submission import JobDetails

from cluster.dashboard import Dashboard, dashboard_address
from cluster.failures import UserError
from cluster.job_log import JobLog
from cluster.submission import exit_code
from jobs.submit import Submit, check_paths, main, split, usage_problem

HEAD = "http://head:8265"


@pytest.mark.parametrize(
    ("line", "own", "job"),
    [
        (f"label --out s3://b/l --address {HEAD}", f"--address {HEAD}", "label --out s3://b/l"),
        (f"label --address={HEAD} --out o", f"--address {HEAD}", "label --out o"),
        ("--detach --submission-id a label --out o", "--detach --submission-id a", "label --out o"),
        ("label --address auto --out o", "", "label --address auto --out o"),
        (f"--env A --env=B --address {HEAD} distill", f"--env A --env=B --address {HEAD}", "distill"),
        ("--attach an-id --tail 5", "--attach an-id --tail 5", ""),
        (f"--cancel an-id --address {HEAD}", f"--cancel an-id --address {HEAD}", ""),
        ("--submission_id label label --out o", "--submission_id label", "label --out o"),
    ],
)
def test_options_of_submit_and_of_the_job_are_told_apart(line, own, job):
    assert split(line.split()) == (own.split(), job.split())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "give either"),
        ("relabel --out o", "no job 'relabel'"),
        ("submit label", "no job 'submit'"),
        ("--list label", "--list and label"),
        ("--attach a --cancel b", "--attach and --cancel"),
        ("--tail 5 label", "--tail"),
        ("label --out o --detach", "put it before label"),
        ("label --out o --address 127.0.0.1:8265", "begins with http://"),
    ],
)
def test_wrong_usage_exits_2_with_one_clear_line(line, problem, capsys):
    assert main(line.split()) == 2
    assert problem in capsys.readouterr().err.splitlines()[0]


def test_right_usage_is_accepted():
    assert usage_problem(Submit(), ["train-teacher"], ["train-teacher"]) is None
    assert usage_problem(Submit(attach="a", tail=3), [], ["label"]) is None


def test_help_of_the_job_is_shown_here(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["label", "--help"])
    assert exit.value.code == 0 and "--manifest" in capsys.readouterr().out


def test_a_relative_output_is_refused_and_a_local_input_warned_of(caplog, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="--out runs/labels is a relative path"):
        check_paths("label --manifest s3://b/m --out runs/labels".split())
    (tmp_path / "clips").mkdir()
    monkeypatch.chdir(tmp_path)
    check_paths(["index", "--layout", "clips", "--data", "s3://b/clips", "--out", "s3://b/m.parquet"])
    check_paths(["label", "--manifest", str(tmp_path), "--out", "s3://b/l", "--crop-workers", "4"])
    (warning,) = caplog.messages
    assert warning.startswith(f"--manifest {tmp_path} is a path of this machine")


def test_the_address_is_the_option_before_the_environment(monkeypatch):
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="--address http://HEAD:8265"):
        dashboard_address(None)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # no dashboard's
    with pytest.raises(UserError, match="no cluster is named"):
        dashboard_address(None)
    monkeypatch.setenv("RAY_ADDRESS", "http://ray:8265/")
    assert dashboard_address(None) == "http://ray:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://api:8265")
    assert dashboard_address(None) == "http://api:8265"
    assert dashboard_address(HEAD) == HEAD
    with pytest.raises(UserError, match="ray://head:10001"):
        dashboard_address("ray://head:10001")


@pytest.fixture
def server():
    """Yields a function: answers to GET, path -> (status, body) -> the server's address."""
    started = []

    def serve(answers: dict[str, tuple[int, str]]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = answers.get(self.path, (404, "not found"))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        started.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=started[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{started[-1].server_port}"

    yield serve
    for one in started:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({}, "no Ray dashboard"),
        ({"/api/version": (200, "<html>")}, "no Ray dashboard"),
        ({"/api/version": (503, "busy")}, "no Ray dashboard (503"),
        ({"/api/version": (200, json.dumps({"ray_version": "2.9.3"}))}, "runs Ray 2.9.3 and this checkout Ray 2."),
    ],
)
def test_what_is_not_a_dashboard_of_this_ray_is_named(server, answers, said):
    with pytest.raises(UserError) as refused:
        Dashboard(server(answers))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_port_where_nobody_listens_is_named(server, capsys):
    address = server({})
    free = address.rpartition(":")[0] + ":1"
    assert main(["--list", "--address", free]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--address {free}: no dashboard answers there (Connection refused)" in line


@pytest.mark.parametrize(
    ("status", "driver", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", -9, 137),  # ended by the kernel for its memory
        ("FAILED", None, 1),  # lost with its node, or never begun
        ("STOPPED", None, 143),
    ],
)
def test_exit_codes(status, driver, expected):
    job = JobDetails(type="SUBMISSION", submission_id="a", status=status, entrypoint="", driver_exit_code=driver)
    assert exit_code(job) == expected


def test_the_last_json_object_of_a_log_is_its_result():
    shown = []
    log = JobLog(shown.append)
    for piece in ("first\n{not js", 'on}\n{"a": 1}\nsec', 'ond\n{"b"', ": 2}\nafter\nlast"):
        log.add(piece)
    log.close()
    assert log.result == '{"b": 2}'
    assert shown == ["first", "{not json}", "second", '{"a": 1}', "after", "last"]


def test_hidden_lines_still_give_the_result():
    shown = []
    log = JobLog(shown.append, hidden_lines=2)
    log.add('one\ntwo\nthree\n{"a": 1}\n')
    assert (shown, log.result) == (["three"], '{"a": 1}')


def test_the_last_lines_are_those_that_are_shown_whatever_the_result():
    so_far, shown = 'one\ntwo\nthree\n{"rows": 3}\n', []
    log = JobLog.of_last(shown.append, 1, so_far)
    log.add(so_far + "four\n")
    log.close()
    assert shown == ["three", "four"] and log.result == '{"rows": 3}'
