"""A notebook for every test that asks for one, with a director in a thread unless the test says otherwise."""

import os

import pytest
from director.helpers_cluster import LocalCluster
from director.helpers_processes import Gate
from director.helpers_world import LAUNCHES, Notebook


@pytest.fixture(params=["thread"])
def notebook(request, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "project"
    folder.mkdir()
    notebook = Notebook(folder, LAUNCHES[request.param])
    yield notebook
    notebook.close()


@pytest.fixture
def nap(request):
    """Words that nothing else on this machine has for `sleep`: ten minutes and a bit."""
    return f"600.{os.getpid()}{abs(hash(request.node.name)) % 10**6:06}"


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path)
    yield gate
    gate.close()


@pytest.fixture(scope="module")
def cluster():
    """A cluster on this machine: two workers with two threads each."""
    pytest.importorskip("distributed")
    cluster = LocalCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def session(notebook):
    """A session of that notebook; no director is started yet."""
    return notebook.begin()
