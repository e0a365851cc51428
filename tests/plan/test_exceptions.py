"""Errors of plan scripts: StepUp's names and words, and ours after them."""

import pytest

from stepup_nb.core.errors import UsageError
from stepup_nb.plan.exceptions import CyclicError, GraphError, InputNotFoundError, RPCError, refused


@pytest.mark.parametrize(
    ("code", "what", "kind", "words"),
    [
        ("SNB-401", "Two steps would write 'b.txt'.", GraphError, "Node (file:b.txt) already exists and is not"),
        ("SNB-407", "Step 'runsh x' is declared twice.", GraphError, "Node (step:runsh x) already exists"),
        ("SNB-405", "'v.log' is volatile, and a step would read it.", GraphError, "Input is volatile: v.log."),
        ("SNB-406", "2 steps would wait for each other.", CyclicError, "New relation introduces a cyclic dependency"),
        ("SNB-111", "'x' is no size for a pool.", RPCError, "'x' is no size for a pool."),
    ],
)  # fmt: skip
def test_a_refusal_begins_with_the_words_of_stepup(code, what, kind, words):
    error = refused(UsageError(code, what, "why", "fix"))
    assert type(error) is kind
    assert str(error).startswith(words)
    assert what in str(error)
    assert (error.code, error.why, error.fix) == (code, "why", "fix")


def test_whoever_catches_what_stepup_raises_catches_ours():
    assert issubclass(CyclicError, RPCError)
    assert InputNotFoundError("a.txt is not there yet.").code == "SNB-132"
