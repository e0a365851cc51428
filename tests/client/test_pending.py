"""The pages about steps that could not run, as StepUp 3.0 writes them."""

from stepup_nb.client.pending import pending_pages


def node(key, state="", *, properties=(), amended=(), orphan=False, **links):
    label = key.partition(":")[2]
    lists = {name: links.get(name, []) for name in ("creates", "consumes", "supplies")}
    return {
        "key": key,
        "label": label,
        "state": state,
        "orphan": orphan,
        "properties": [list(pair) for pair in properties],
        "amended": list(amended),
        **lists,
    }


FILES = [
    node("file:a.txt", "AWAITED", orphan=True),
    node("file:b.txt", "MISSING"),
    node("file:c.txt", "AWAITED"),
    node("file:s.txt", "STATIC"),
]


def test_a_pending_step_is_shown_with_all_its_files_and_what_lacks_comes_first():
    step = node(
        "step:runpy ./w.py  # wd=sub/",
        "PENDING",
        creates=["file:s.txt"],
        consumes=["file:b.txt", "file:a.txt", "step:other"],
        supplies=["file:c.txt"],
        amended=["a.txt"],
    )
    pages = pending_pages([*FILES, step, node("step:other", "SUCCEEDED")])
    assert [(page.title, page.text) for page in pages] == [
        ("Missing inputs", "             MISSING  b.txt"),
        ("Orphaned inputs", "             AWAITED  a.txt"),
        (
            "PENDING Step",
            "Action                runpy ./w.py\n"
            "Working directory     sub/\n"
            "Declares      STATIC  s.txt\n"
            "Inputs       AWAITED  (a.txt) [amended]\n"
            "             MISSING  b.txt\n"
            "Outputs      AWAITED  c.txt",
        ),
    ]


def test_where_steps_are_blocked_only_these_are_named():
    blocked = node("step:x", "PENDING", properties=[("block", "True")], consumes=["file:b.txt"])
    (page,) = pending_pages([*FILES, blocked, node("step:y", "PENDING", consumes=["file:a.txt"])])
    assert (page.title, page.text) == ("Blocked steps", "step:x")


def test_an_optional_step_that_nobody_needs_is_not_shown():
    assert pending_pages([node("step:x", "PENDING", properties=[("mandatory", "NO")])]) == []
