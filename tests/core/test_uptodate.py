"""One manifest decides whether a step is up to date, and says why it is not."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.core import uptodate
from stepup_nb.core.model import Content, StepSpec
from stepup_nb.core.uptodate import Manifest, Record, is_up_to_date, make_record, reasons

paths = st.sampled_from(["a", "b", "sub/c", "ä", "\udcff"])
contents = st.builds(
    lambda digest, size, mode: (digest, size, mode),
    st.sampled_from(["blake3:aa", "blake3:bb"]),
    st.integers(0, 1),
    st.sampled_from([0o100644, 0o100755]),
)
files = st.dictionaries(paths, contents, max_size=3).map(lambda found: tuple(sorted(found.items())))
hashes = st.dictionaries(st.sampled_from(["MODE", "PATH"]), st.none() | st.sampled_from(["k1", "k2"])).map(
    lambda found: tuple(sorted(found.items()))
)
manifests = st.builds(
    Manifest,
    st.sampled_from(["runsh", "runpy"]),
    st.sampled_from(["make", "make it"]),
    st.sampled_from([".", "sub"]),
    st.sampled_from([("/bin/sh", "-c"), ("bash", "-c")]),
    files,
    hashes,
)
records = st.builds(
    make_record,
    manifests,
    files,
    st.integers(1, 9),
    st.floats(0, 1e9),
    files,
    st.lists(paths, max_size=2).map(tuple),
)
found_outputs = st.dictionaries(paths, st.none() | contents, max_size=3)


@given(records, manifests, found_outputs)
def test_reasons_are_given_exactly_when_a_step_is_not_up_to_date(
    record: Record, now: Manifest, outputs: dict[str, Content | None]
) -> None:
    assert (reasons(record, now, outputs) == []) is is_up_to_date(record, now, outputs)


@given(records)
def test_nothing_changed_is_up_to_date(record: Record) -> None:
    assert reasons(record, record.manifest, dict(record.outputs)) == []


@given(records, manifests, found_outputs)
def test_reasons_are_given_also_where_a_record_does_not_fit_its_own_digests(
    record: Record, now: Manifest, outputs: dict[str, Content | None]
) -> None:
    old = record._replace(inp_digest="of another format")
    assert reasons(old, now, outputs)
    assert reasons(old, old.manifest, dict(old.outputs)) == ["recorded by another release"]


@given(records)
def test_a_record_comes_back_from_its_plain_form(record: Record) -> None:
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


@given(records)
def test_a_record_of_an_earlier_release_knows_of_nothing_that_was_there_before(record: Record) -> None:
    *form, _ = record.to_json()
    assert Record.from_json(form).foreign == ()


@given(records)
def test_what_was_there_before_is_not_among_what_a_step_made(record: Record) -> None:
    made = record.made()
    assert set(made) == {*dict(record.outputs)}.difference(record.foreign) | {*dict(record.volatiles)}


@given(records)
def test_a_record_knows_the_content_of_each_of_its_files(record: Record) -> None:
    assert {path: record.content_of_output(path) for path, _ in record.outputs} == dict(record.outputs)
    inputs = record.manifest.inputs
    assert {path: record.content_of_input(path) for path, _ in inputs} == dict(inputs)
    assert record.content_of_input("nowhere") is None
    assert record.content_of_output("nowhere") is None


INP_DIGEST = "blake2b:9c9aeab0c917c6b4cff68f4f7cf938a52a7cef368d550d3a7efd87441da2e474"
OUT_DIGEST = "blake2b:1599a4ee6fb383c72c53477685cb58b6a1320c8b66c5e20739e35b8bce3c93ca"


def test_the_digests_are_those_of_all_releases() -> None:
    # A change here makes every step of every user run again: then give `_FORMAT` another number.
    manifest = Manifest(
        "runsh",
        "wc -l a.txt > ü.txt",
        "sub",
        ("/bin/sh", "-c"),
        (("a.txt", ("blake3:0123", 5, 0o100644)), ("b\udcff", ("blake3:4567", 0, 0o100600))),
        (("MODE", "hash"), ("NONE", None)),
    )
    assert uptodate.inp_digest(manifest) == INP_DIGEST
    assert uptodate.out_digest((("ü.txt", ("blake3:89ab", 7, 0o100644)),)) == OUT_DIGEST


def test_the_digest_is_over_sorted_words_that_cannot_run_into_each_other() -> None:
    def digest(command: str, workdir: str) -> str:
        return uptodate.inp_digest(Manifest("runsh", command, workdir, (), (), ()))

    assert digest("a", "bc") != digest("ab", "c")
    spec = StepSpec(action="runsh", command="c", inp=("b", "a"))
    inputs = {"a": ("x", 1, 2), "b": ("y", 1, 2)}
    other = spec._replace(inp=("a", "b"))
    hashes = (("B", "1"), ("A", "2"))
    assert uptodate.manifest(spec, inputs, hashes) == uptodate.manifest(other, inputs, hashes[::-1])


def test_each_difference_is_named() -> None:
    old = Manifest(
        "runsh",
        "c",
        ".",
        ("sh",),
        (("a", ("1", 1, 1)), ("b", ("1", 1, 1)), ("m", ("1", 1, 1))),
        (("A", "1"), ("B", "1")),
    )
    record = make_record(old, (("x", ("1", 1, 1)), ("y", ("1", 1, 1)), ("z", ("1", 1, 1))), 1, 0.0)
    now = Manifest(
        "runsh",
        "d",
        "sub",
        ("bash",),
        (("b", ("2", 1, 1)), ("c", ("1", 1, 1)), ("m", ("1", 1, 2))),
        (("B", None), ("C", "1")),
    )
    assert reasons(record, now, {"w": ("1", 1, 1), "x": ("2", 1, 1), "y": None}) == [
        "command changed",
        "working directory changed",
        "shell changed",
        "input 'a' is no longer declared",
        "input 'b' changed",
        "input 'c' is newly declared",
        "input 'm' has other permissions",
        "environment variable A is no longer declared",
        "environment variable B changed",
        "environment variable C is newly declared",
        "output 'w' is newly declared",
        "output 'x' changed",
        "output 'y' is missing",
        "output 'z' is no longer declared",
    ]
    assert reasons(None, now, {}) == ["never ran"]
