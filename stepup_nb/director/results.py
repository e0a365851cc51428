"""What is remembered of steps beyond their rows: results, what was declared with them, what was amended.

Plain forms in, nouns out, and the reverse. Knows no connection.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from stepup_nb.core.messages import spec_from_json, spec_to_json
from stepup_nb.core.model import Content, Glob, PoolSize, Products, Step, StepSpec, StepState
from stepup_nb.core.uptodate import Record
from stepup_nb.director.rows import decode, encode


class Kept(NamedTuple):
    """What is remembered of a step's results."""

    record: Record | None
    """Of its last success; None while none holds."""
    products: Products | None = None
    """What it declared then."""
    made: tuple[tuple[str, Content], ...] = ()
    """What its jobs left that no record tells of, sorted by path."""

    def is_same(self, other: Kept) -> bool:
        """Tell whether it is the very same, without comparing what is long."""
        return self.record is other.record and self.products is other.products and self.made == other.made

    def give(self, step: Step) -> None:
        """Let a step have it."""
        step.record, step.products, step.made = self.record, self.products, dict(self.made)


class Disbelieved:
    """Stands for a stored result that somebody else recorded."""


Declared = tuple[int, int, bool, str | None, str | None, str]
"""Order, number of the occurrence, whether it is retired; id, kind and title of its scope."""

UNDECLARED: Declared = (0, 0, False, None, None, "")

Ended = tuple[str, str, int | None]
"""State, reason, and the last job."""

NEVER_ENDED: Ended = (StepState.PENDING.value, "", None)


class Row(NamedTuple):
    """What is stored of a step: enough to tell whether, and what, has to be written."""

    id: int
    spec: StepSpec
    text: str
    """The spec as it is stored; empty: nothing is stored yet."""
    declared: Declared = UNDECLARED
    ended: Ended = NEVER_ENDED
    kept: Kept | Disbelieved | None = None


def words_of(kept: Kept) -> str:
    """Return what the table keeps of a result."""
    record, products, made = kept
    form: dict[str, Any] = {"record": None if record is None else record.to_json()}
    if products is not None:
        pools = [(name, *defined) for name, defined in products.pools]
        form["products"] = [products.steps, products.statics, products.globs, pools, products.digest]
    if made:
        form["made"] = made
    return encode(form)


def kept_of(words: str) -> Kept:
    """Return the result that the table keeps; up to schema 1 that was a record alone."""
    form = decode(words)
    if isinstance(form, list):
        return Kept(Record.from_json(form))
    record, products = form["record"], form.get("products")
    return Kept(
        None if record is None else Record.from_json(record),
        None if products is None else _products(*products),
        tuple((path, (digest, size, mode)) for path, (digest, size, mode) in form.get("made", ())),
    )


def _products(
    steps: list[Any], statics: list[Any], globs: list[Any], pools: list[Any], digest: str = ""
) -> Products:
    return Products(
        tuple(steps),
        tuple(statics),
        tuple(
            Glob(
                tuple(patterns),
                tuple((name, sub) for name, sub in subs),
                tuple(tuple(paths) for paths in found),
                is_deferred is True,
            )
            for patterns, subs, found, is_deferred in globs
        ),
        tuple(
            (name, PoolSize(size, tuple(tokens), bool(more) and more[0] is True))
            for name, size, tokens, *more in pools
        ),
        digest,
    )


_AMENDED = ("inp", "out", "vol", "env")


def spec_words(step: Step) -> str:
    """Return what the table keeps of a declaration, and of what was amended."""
    form = spec_to_json(step.declared)
    if step.unamended is not None:
        form["amended"] = [getattr(step.spec, name) for name in _AMENDED]
    return encode(form)


def spec_of(words: str) -> tuple[StepSpec, StepSpec | None]:
    """Return what counts of a step, and what was declared where that is less."""
    form = decode(words)
    amended = form.pop("amended", None)
    spec = spec_from_json(form)
    if amended is None:
        return spec, None
    return spec_from_json({**form, **dict(zip(_AMENDED, amended, strict=True))}), spec
