"""The store makes a thing once, by one process at a time, whole or not at all."""

import json
import multiprocessing
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts import store
from workflow_scripts.files import read_json, write_json, written
from workflow_scripts.locks import try_lock

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_an_identity_does_not_depend_on_the_order_of_its_keys(identity):
    shuffled = dict(reversed(identity.items()))
    assert store.key_of(identity) == store.key_of(shuffled)
    assert store.key_of(identity) == store.key_of(json.loads(store.canonical_json(identity)))


def test_an_identity_holds_no_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.key_of({"lr": float("nan")})


def make_counted(calls):
    def make(folder):
        calls.append(folder)
        (folder / "out.txt").write_text("made")

    return make


def test_a_thing_is_made_once_and_linked_wherever_it_is_wanted(tmp_path):
    calls = []
    for name in ("one", "two"):
        store.produce("things", {"a": 1}, {"out.txt": tmp_path / name / "result.txt"}, make_counted(calls))
    assert len(calls) == 1
    assert (tmp_path / "one/result.txt").samefile(tmp_path / "two/result.txt")
    store.produce("things", {"a": 2}, {"out.txt": tmp_path / "three.txt"}, make_counted(calls))
    assert len(calls) == 2


def test_an_output_that_is_there_is_linked_again_and_leaves_nothing_beside_it(tmp_path):
    """A job that is tried again links the runs that it had finished."""
    for _ in range(2):
        store.produce("things", {"a": 1}, {"out.txt": tmp_path / "made/result.txt"}, make_counted([]))
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["result.txt"]


def test_a_deleted_output_comes_back_without_work(tmp_path):
    calls = []
    for _ in range(2):
        entry = store.produce("things", {"a": 1}, {"out.txt": tmp_path / "result.txt"}, make_counted(calls))
        (tmp_path / "result.txt").unlink()
    assert len(calls) == 1
    assert read_json(entry / "identity.json") == {"a": 1}


def test_a_failure_leaves_no_entry_and_no_output(tmp_path):
    def fails(folder):
        (folder / "out.txt").write_text("half")
        raise RuntimeError("no more disk")

    with pytest.raises(RuntimeError, match="no more disk"):
        store.produce("things", {"a": 1}, {"out.txt": tmp_path / "result.txt"}, fails)
    assert not (tmp_path / "result.txt").exists()
    assert [path.suffix for path in (store.STORE / "things").iterdir()] == [".lock"]
    calls = []
    store.produce("things", {"a": 1}, {"out.txt": tmp_path / "result.txt"}, make_counted(calls))
    assert len(calls) == 1
    assert (tmp_path / "result.txt").read_text() == "made"


def hold_a_making(connection):
    def make(folder):
        (folder / "out.txt").write_text("half")
        connection.send("making")
        connection.recv()

    store.produce("things", {"a": 1}, {}, make)


def test_a_killed_maker_frees_its_lock_and_its_half_work_is_forgotten(tmp_path):
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    maker = multiprocessing.get_context("fork").Process(target=hold_a_making, args=(theirs,))
    maker.start()
    assert ours.recv() == "making"
    lock = store.STORE / "things" / f"{store.key_of({'a': 1})}.lock"
    assert try_lock(lock) is None
    assert lock.read_text().split()[0] == str(maker.pid)
    os.kill(maker.pid, signal.SIGKILL)
    maker.join()
    calls = []
    store.produce("things", {"a": 1}, {"out.txt": tmp_path / "result.txt"}, make_counted(calls))
    assert (tmp_path / "result.txt").read_text() == "made"


def test_where_there_are_no_hard_links_a_copy_does(tmp_path, monkeypatch):
    def refuses(source, target):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuses)
    store.produce("things", {"a": 1}, {"out.txt": tmp_path / "result.txt"}, make_counted([]))
    assert (tmp_path / "result.txt").read_text() == "made"


def write_half(path):
    with written(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
