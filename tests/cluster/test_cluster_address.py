"""An address where no cluster is: one line, soon, that names what to change - the option or the environment, whichever it was."""

import os
import socket
import subprocess
import sys
import time

import pytest

from cluster import ray_internals
from cluster.cluster_address import answering, cluster_address, ray_is_named
from cluster.failures import UserError
from cluster.session import is_remote
from tests.support.ray_head import free_port


@pytest.fixture(autouse=True)
def no_cluster_here(monkeypatch, tmp_path):
    """No head of somebody else's on this machine counts."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray_internals.services, "find_gcs_addresses", set)


def refused(option: str | None) -> str:
    named = cluster_address(option)
    assert named is not None
    with pytest.raises(UserError) as found:
        answering(named)
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize(
    "address", ["http://10.0.0.1:8265", "https://head", "ray://head:10001", "nonsense", "no.host.invalid:6379"]
)
def test_what_is_no_head_is_told_by_where_it_is_from(monkeypatch, address):
    assert refused(address).startswith(f"--address {address}: ")
    monkeypatch.setenv("RAY_ADDRESS", address)
    said = refused(None)
    assert said.startswith(f"RAY_ADDRESS is {address}: ") and (
        "unset RAY_ADDRESS" in said or address.startswith("ray:")
    )


def test_a_dashboards_address_is_told_to_belong_to_submit(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.1:8265")
    assert "a dashboard's address, to which `emovox submit` sends jobs" in refused(None)


def test_a_dead_head_is_told_at_once(monkeypatch):
    began = time.monotonic()
    address = f"127.0.0.1:{free_port()}"
    assert "no Ray cluster answers there (Connection refused)" in refused(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert "unset RAY_ADDRESS" in refused(None)
    assert time.monotonic() - began < 20


def test_auto_on_a_machine_whose_last_head_is_dead_names_it(tmp_path, monkeypatch):
    port = free_port()
    monkeypatch.setattr(ray_internals.services, "find_bootstrap_address", lambda folder: f"127.0.0.1:{port}")
    assert f":{port}: no Ray cluster answers there (Connection refused)" in refused("auto")


def test_auto_on_a_machine_without_a_head_says_so():
    assert refused("auto").startswith(
        "--address auto: Could not find any running Ray instance; start one with `ray start --head`"
    )


def test_an_option_counts_where_the_environment_names_a_dashboard(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.1:8265")
    assert "--address auto: Could not find" in refused("auto")
    assert os.environ["RAY_ADDRESS"] == "http://10.0.0.1:8265"


@pytest.mark.parametrize(
    ("option", "variable"), [("local", "http://10.0.0.1:8265"), (None, "local"), (None, " "), (None, "Local")]
)
def test_local_is_a_session_of_the_jobs_own(monkeypatch, option, variable):
    monkeypatch.setenv("RAY_ADDRESS", variable)
    assert cluster_address(option) is None and not is_remote(option)


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.1:6379"])
def test_ray_is_named_by_the_option_or_the_environment(monkeypatch, address):
    assert not ray_is_named(None) and ray_is_named(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert ray_is_named(None)
    monkeypatch.setenv("RAY_ADDRESS", " ")
    assert not ray_is_named(None)


@pytest.mark.slow
def test_a_port_that_says_nothing_is_told_within_a_minute_in_one_line():
    with socket.create_server(("", 0)) as silent:
        program = (
            "import sys; from cluster.cluster_address import *\n"
            "try: answering(cluster_address(sys.argv[1]))\n"
            "except ValueError as error: print(error, file=sys.stderr)"
        )
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run([sys.executable, "-c", program, address], capture_output=True, text=True, timeout=60)
    assert len(done.stderr.splitlines()) == 1 and "no Ray cluster answers there" in done.stderr
