"""A conversation with a director: in order for many threads, and over at once when it is broken."""

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from client.helpers_session import is_asleep, until

from stepup_nb.client import connection as module
from stepup_nb.client.connection import Connection, DirectorGone
from stepup_nb.core.errors import InternalError, OwnerError, StepUpError, UsageError
from stepup_nb.core.frames import LIMIT, Frames, frame


class Peer:
    """A director of few words: answers what a function makes of each request."""

    def __init__(self, folder, answer, *, is_open=True):
        self.path = str(folder / "socket")
        self.answer = answer
        self.seen = []
        self.socks = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._is_open = False
        if is_open:
            self.open()

    def open(self):
        """Let in who knocks, from now on."""
        if not self._is_open:
            self._is_open = True
            threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.socks.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        frames = Frames()
        with contextlib.suppress(OSError, ValueError):
            while data := sock.recv(1 << 16):
                for request in frames.feed(data):
                    self.seen.append(request)
                    if request["op"] == "hello":
                        sock.sendall(frame({"id": request["id"], "ok": {"greeting": "hi"}}))
                    else:
                        self.answer(sock, request)

    def close(self):
        for sock in (self._listener, *self.socks):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def echo(sock, request):
    sock.sendall(frame({"id": request["id"], "ok": {"word": request.get("word")}}))


@pytest.fixture
def peer(tmp_path):
    peer = Peer(tmp_path, echo)
    yield peer
    peer.close()


@pytest.fixture
def connection(peer):
    connection = Connection(peer.path, "t0ken")
    yield connection
    connection.close()


def test_it_greets_with_its_token_and_role(peer, connection):
    assert connection.greeting == {"greeting": "hi"}
    assert peer.seen == [{"id": 1, "op": "hello", "hello": "t0ken"}]


def test_nobody_there_is_a_director_that_is_gone(tmp_path):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(DirectorGone):
        Connection(str(tmp_path / "nothing"), "t")
    with pytest.raises(DirectorGone):
        Connection(str(tmp_path / ("x" * 200)), "t")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "stale"))
    stale.close()
    with pytest.raises(DirectorGone):
        Connection(str(tmp_path / "stale"), "t")
    assert os.listdir("/proc/self/fd") == before


def test_requests_of_many_threads_get_their_own_answers(connection):
    errors = []

    def ask(name):
        try:
            for number in range(200):
                assert connection.request("echo", word=[name, number])["word"] == [name, number]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"kind": "UsageError", "code": "SNB-1", "what": "a", "why": "b", "fix": "c"}, UsageError),
        ({"kind": "OwnerError", "code": "SNB-210", "what": "a", "why": "b", "fix": "c"}, OwnerError),
        ({"kind": "InternalError", "code": "SNB-900", "what": "a", "why": "b", "fix": "c"}, InternalError),
        ({"kind": "Unheard", "code": "SNB-1", "what": "a", "why": "b", "fix": "c"}, StepUpError),
    ],
)
def test_a_refusal_is_raised_as_what_it_is(peer, connection, error, kind):
    peer.answer = lambda sock, request: sock.sendall(frame({"id": request["id"], "error": error}))
    with pytest.raises(kind) as caught:
        connection.request("x")
    assert (caught.value.what, caught.value.why) == ("a", "b")
    peer.answer = echo
    assert connection.request("echo", word=1) == {"word": 1}


def test_what_is_too_long_to_send_is_refused_and_the_conversation_goes_on(connection):
    with pytest.raises(UsageError, match="SNB-205"):
        connection.request("echo", word="x" * LIMIT)
    assert connection.request("echo", word=1) == {"word": 1}


def test_events_between_the_answers_do_not_confuse_it(peer, connection):
    def answer(sock, request):
        sock.sendall(frame({"event": "changes", "seq": 1}))
        echo(sock, request)

    peer.answer = answer
    assert connection.request("echo", word=1) == {"word": 1}
    assert connection.request("echo", word=2) == {"word": 2}


def test_an_answer_that_is_not_waited_for_comes_later(peer, connection):
    number = connection.send("echo", word=1)
    assert connection.result(number, timeout=5) == {"word": 1}
    assert connection.result(number, timeout=0.01) is None
    assert connection.receive(timeout=0) is None
    assert connection.receive(timeout=0.0) is None
    peer.socks[0].sendall(frame({"event": "late"}))
    assert connection.receive(timeout=1e12) == {"event": "late"}


@pytest.mark.parametrize("data", [b"", b"\0\0\0\2[]", b"\xff\xff\xff\xff", b"\0\0\0\5ab"])
def test_a_director_that_breaks_off_or_talks_nonsense_is_gone(peer, connection, data):
    def answer(sock, request):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_RDWR)

    peer.answer = answer
    with pytest.raises(DirectorGone):
        connection.request("x")
    with pytest.raises(DirectorGone):
        connection.request("x")
    with pytest.raises(DirectorGone):
        connection.send("x")


def test_events_end_with_the_connection(peer, connection):
    received = []
    thread = threading.Thread(target=lambda: received.extend(connection.events()))
    thread.start()
    peer.socks[0].sendall(frame({"event": "a"}) + frame({"event": "b"}))
    until(lambda: len(received) == 2)
    connection.close()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_closing_wakes_whoever_waits(peer, connection):
    peer.answer = lambda sock, request: None
    errors = []

    def ask():
        try:
            connection.request("x")
        except DirectorGone as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: len(peer.seen) == 2)
    connection.close()
    thread.join(timeout=5)
    assert len(errors) == 1


def test_a_director_that_does_not_answer_in_time_is_gone_for_whoever_cannot_wait(peer):
    connection = Connection(peer.path, "t", timeout=5)
    peer.answer = lambda sock, request: None
    connection._sock.settimeout(0.05)
    begin = time.monotonic()
    with pytest.raises(DirectorGone):
        connection.request("x")
    assert time.monotonic() - begin < 5


def test_who_finds_many_knocking_is_let_in_when_there_is_room(tmp_path, monkeypatch):
    # A director that more than its queue held asked at once was taken for one that is gone.
    path = str(tmp_path / "socket")
    peer = Peer(tmp_path, echo, is_open=False)
    others = []
    with contextlib.suppress(BlockingIOError):
        while True:
            others.append(socket.socket(socket.AF_UNIX))
            others[-1].setblocking(False)
            others[-1].connect(path)
    monkeypatch.setattr(
        module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: peer.open())
    )
    with contextlib.closing(Connection(path, "t0ken", timeout=30.0)) as connection:
        assert connection.request("echo", word=1) == {"word": 1}
    peer.close()
    for other in others:
        other.close()


def test_an_interrupt_while_asking_ends_the_conversation_and_nothing_is_mistaken(peer, connection):
    # The answer to the broken-off request was taken for that to the next one, or half of it for a message.
    asking = threading.get_native_id()

    def answer(sock, request):
        until(lambda: is_asleep(asking))
        os.kill(os.getpid(), signal.SIGINT)

    peer.answer = answer
    with pytest.raises(KeyboardInterrupt):
        connection.request("x")
    with pytest.raises(DirectorGone):
        connection.request("y")


def _ask(connection, queue):
    try:
        queue.put(connection.request("echo", word="from the child"))
    except UsageError as error:
        queue.put(error.code)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_may_not_ask_and_does_not_disturb_its_parent(peer, connection):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_ask, args=(connection, queue))
    child.start()
    assert queue.get() == "SNB-206"
    child.join()
    assert child.exitcode == 0
    assert connection.request("echo", word=1) == {"word": 1}
    assert [request["op"] for request in peer.seen] == ["hello", "echo"]
