"""What a new director is told is what still holds, in the order of its last execution, and no more."""

from stepup_nb.client.told import Told


def opening(scope, number=1):
    return {"op": "OpenScope", "scope": scope, "round": number}


def closing(scope, is_ok=True):
    return {"op": "CloseScope", "scope": scope, "is_ok": is_ok}


def step(scope, name, command=""):
    return {"op": "Declare", "scope": scope, "name": name, "command": command}


def execute(told, scope, *names, number=1, is_ok=True, command=""):
    told.open(opening(scope, number))
    for name in names:
        told.add(("step", name), step(scope, name, command))
    told.close(closing(scope, is_ok))


def messages(told):
    return [message for _, message in told.messages()]


def test_a_cell_is_repeated_as_it_was_executed():
    told = Told()
    execute(told, "a", "x", "y")
    assert messages(told) == [opening("a"), step("a", "x"), step("a", "y"), closing("a")]
    assert "a" in told
    assert "b" not in told


def test_each_message_says_what_it_is_about():
    told = Told()
    execute(told, "a", "x")
    assert [key for key, _ in told.messages()] == [None, ("step", "x"), None]


def test_a_later_round_takes_the_place_of_an_earlier_one():
    told = Told()
    execute(told, "a", "x", "y")
    execute(told, "a", "y", "z", number=2)
    assert messages(told) == [opening("a", 2), step("a", "y"), step("a", "z"), closing("a")]


def test_cells_are_repeated_in_the_order_of_their_last_execution():
    told = Told()
    execute(told, "a", "x")
    execute(told, "b", "y")
    execute(told, "a", "x", number=2)
    assert [m["scope"] for m in messages(told) if m["op"] == "OpenScope"] == ["b", "a"]


def test_what_a_failing_round_did_not_declare_again_still_holds():
    # It was lost with the director, though the cell that raised had retired nothing.
    told = Told()
    execute(told, "a", "x", "y", command="old")
    execute(told, "a", "y", number=2, is_ok=False, command="new")
    assert messages(told) == [
        opening("a", 2),
        step("a", "x", "old"),
        step("a", "y", "old"),
        closing("a", False),
        opening("a", 2),
        step("a", "y", "new"),
        closing("a", False),
    ]
    execute(told, "a", "z", number=3, is_ok=False)
    names = [m["name"] for m in messages(told) if m["op"] == "Declare"]
    assert names == ["x", "y", "z"]
    execute(told, "a", "z", number=4)
    assert [m["name"] for m in messages(told) if m["op"] == "Declare"] == ["z"]


def test_a_round_that_is_not_over_has_retired_nothing():
    told = Told()
    execute(told, "a", "x")
    told.open(opening("a", 2))
    told.add(("step", "y"), step("a", "y"))
    assert [m["name"] for m in messages(told) if m["op"] == "Declare"] == ["x", "y"]
    assert messages(told)[-1] == step("a", "y")


def test_what_is_in_no_cell_is_kept_once_however_often_it_is_declared():
    told = Told()
    for _ in range(1000):
        told.add(("step", "x"), step("session", "x"))
    told.add(("step", "y"), step("session", "y"))
    told.add(("step", "x"), step("session", "x", "new"))
    assert messages(told) == [step("session", "y"), step("session", "x", "new")]


def test_what_was_dropped_is_not_repeated_whoever_declared_it():
    told = Told()
    execute(told, "a", "x")
    told.open(opening("a", 2))
    told.add(("step", "x"), step("session", "x"))
    told.drop(("step", "x"))
    told.drop(("step", "unknown"))
    assert [m["op"] for m in messages(told)] == ["OpenScope"]
