"""Messages survive any way of being cut into pieces, and what is no message is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepup_nb.core.errors import UsageError
from stepup_nb.core.frames import ANSWER_LIMIT, LIMIT, Frames, frame

texts = st.text(st.characters())
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
messages = st.dictionaries(texts, values, max_size=5)


@given(st.lists(messages, max_size=5), st.data())
def test_any_cutting_gives_the_same_messages(sent, data):
    stream = b"".join(map(frame, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    frames = Frames()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += frames.feed(stream[start:end])
    assert received == sent


def test_byte_by_byte_gives_the_same_messages():
    sent = [{"id": 1}, {"text": "ü\udcff☃"}, {}]
    frames = Frames()
    received = [message for byte in b"".join(map(frame, sent)) for message in frames.feed(bytes([byte]))]
    assert received == sent


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused_or_waited_on_but_nothing_else(data):
    try:
        received = Frames().feed(data)
    except ValueError:
        return
    assert all(isinstance(message, dict) for message in received)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"null",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1} {}',
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b"\x80\x04K\x01.",
    ],
    ids=range(13),
)
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(ValueError):
        Frames().feed(len(body).to_bytes(4, "big") + body)


def test_a_length_beyond_the_limit_is_refused_before_anything_is_kept():
    with pytest.raises(ValueError, match="4194305 bytes"):
        Frames().feed((LIMIT + 1).to_bytes(4, "big"))


def test_a_message_that_is_too_long_is_not_sent_and_the_error_says_what_to_do():
    with pytest.raises(UsageError, match="SNB-205") as caught:
        frame({"command": "x" * LIMIT})
    assert "file" in caught.value.fix


def test_answers_may_be_longer_than_requests():
    data = frame({"rows": "x" * LIMIT}, ANSWER_LIMIT)
    assert len(Frames(ANSWER_LIMIT).feed(data)) == 1
    with pytest.raises(ValueError, match="bytes"):
        Frames().feed(data)


def test_what_is_sent_is_pure_ascii_json():
    data = frame({"name": "\udcfe☃"})
    assert json.loads(data[4:].decode("ascii")) == {"name": "\udcfe☃"}
