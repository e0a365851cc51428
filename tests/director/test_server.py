"""Clients, honest and otherwise: who is let in, who is cut off, and that nobody harms the others."""

import contextlib
import json
import os
import resource
import select
import socket
import stat
import time

import pytest
from director.helpers_processes import until

from stepup_nb.core.errors import UsageError
from stepup_nb.core.frames import ANSWER_LIMIT, LIMIT, Frames, frame
from stepup_nb.director import server as module
from stepup_nb.director.reactor import Reactor
from stepup_nb.director.server import Server

TOKEN = "s3cret"


class World:
    """A server in this thread that answers ``echo``, ``fail``, ``long`` and ``subscribe``."""

    def __init__(self, folder):
        self.path = str(folder / "socket")
        self.reactor = Reactor()
        self.gone = []
        self.seen = []
        self.server = Server(
            self.reactor,
            self.path,
            TOKEN,
            self._on_request,
            self.gone.append,
            lambda: self.server.tell({"event": "changes", "text": ""}),
            {"hello": "there"},
        )
        self.turns = 0
        self._socks = []

    def _on_request(self, client, request):
        self.seen.append(request)
        if request["op"] == "fail":
            client.refuse(request, UsageError("SNB-299", "No.", "because", "do not"))
        elif request["op"] == "long":
            client.answer(request, {"text": "x" * request["size"]})
        elif request["op"] == "subscribe":
            client.is_subscribed = True
            client.answer(request, {})
        else:
            client.answer(request, {"echo": request.get("word")})

    def turn(self):
        self.turns += 1
        self.reactor.turn(0.01)

    def until(self, condition):
        until(condition, self.turn)

    def peer(self, token=TOKEN):
        """Return a peer that is connected, and let in if it has a token."""
        peer = Peer(self)
        self._socks.append(peer.sock)
        peer.sock.connect(self.path)
        if token is not None:
            peer.send({"hello": token, "id": 0})
        return peer

    def raw(self):
        return self.peer(None)

    def close(self):
        self.server.close()
        self.reactor.close()
        for sock in self._socks:
            sock.close()


class Peer:
    """The other end: sends anything, reads when it likes."""

    def __init__(self, world):
        self.world = world
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.frames = Frames(ANSWER_LIMIT)
        self.messages = []
        self.is_cut = False

    def send(self, message):
        self.sock.sendall(frame(message))

    def push(self, data):
        """Send bytes as long as they are taken; return how many were."""
        self.sock.setblocking(False)
        sent = 0
        try:
            while sent < len(data):
                sent += self.sock.send(data[sent : sent + 65536])
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        finally:
            self.sock.setblocking(True)
        return sent

    def read(self):
        """Read all that is there now."""
        while select.select([self.sock], [], [], 0)[0]:
            try:
                data = self.sock.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                self.is_cut = True
                return
            self.messages += self.frames.feed(data)

    def until_cut(self):
        self.world.until(lambda: self.read() or self.is_cut)

    def ask(self, op, **fields):
        """Ask, and return the answer."""
        self.messages.clear()
        self.send({"id": 7, "op": op, **fields})
        self.world.until(lambda: self.read() or any(message.get("id") == 7 for message in self.messages))
        return next(message for message in self.messages if message.get("id") == 7)

    def is_served(self):
        return self.ask("echo", word="still") == {"id": 7, "ok": {"echo": "still"}}


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


def test_who_shows_the_token_is_greeted_and_served(world):
    peer = world.peer()
    world.until(lambda: peer.read() or peer.messages)
    assert peer.messages == [{"id": 0, "ok": {"hello": "there"}}]
    assert peer.is_served()


def test_a_refusal_travels_with_code_why_and_fix(world):
    assert world.peer().ask("fail")["error"] == {
        "kind": "UsageError",
        "code": "SNB-299",
        "what": "No.",
        "why": "because",
        "fix": "do not",
    }


@pytest.mark.parametrize(
    "hello", ["", "wrong", TOKEN + "x", "\ud800", "ü", None, 5, ["s3cret"], {"a": 1}], ids=repr
)
def test_who_shows_anything_else_is_cut_off_unheard(world, hello):
    # "\ud800" ended the director: it cannot be encoded.
    other = world.peer()
    peer = world.peer(None)
    peer.send({"hello": hello, "id": 0})
    peer.send({"op": "echo", "id": 1})
    peer.until_cut()
    assert peer.messages == []
    assert world.seen == []
    assert other.is_served()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\0",
        b"\0\0\0\2[]",
        b"\0\0\0\1{",
        b"\0\0\0\3\xff\xfe\xfd",
        (LIMIT + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff" + b"x" * 1000,
        (100_000).to_bytes(4, "big") + b"[" * 100_000,
        b"\x80\x04\x95" * 100,
    ],
    ids=range(9),
)
@pytest.mark.parametrize("is_known", [True, False])
def test_who_sends_no_frame_is_cut_off_and_the_others_notice_nothing(world, data, is_known):
    other = world.peer()
    peer = world.peer() if is_known else world.raw()
    peer.push(data)
    peer.until_cut()
    assert other.is_served()
    assert len(world.gone) == 1


def test_half_a_message_is_waited_for(world):
    peer, other = world.peer(), world.peer()
    data = frame({"id": 7, "op": "echo", "word": "whole"})
    peer.push(data[:9])
    assert other.is_served()
    peer.push(data[9:])
    world.until(lambda: peer.read() or len(peer.messages) == 2)
    assert peer.messages[1]["ok"] == {"echo": "whole"}


def test_who_connects_and_says_nothing_is_cut_off_after_a_while(world, monkeypatch):
    monkeypatch.setattr(module, "GREET_WITHIN", 0.05)
    silent, known = world.raw(), world.peer()
    silent.until_cut()
    assert known.is_served()


def test_who_leaves_in_the_middle_is_forgotten(world):
    peer = world.peer()
    peer.push(frame({"id": 1, "op": "long", "size": 3_000_000})[:-3])
    peer.sock.close()
    world.until(lambda: len(world.gone) == 1)
    assert not world.server.clients


def test_who_leaves_before_the_answer_harms_nobody(world):
    peer, other = world.peer(), world.peer()
    peer.send({"id": 1, "op": "long", "size": 5_000_000})
    peer.sock.close()
    world.until(lambda: len(world.gone) == 1)
    assert other.is_served()


def test_an_answer_may_be_longer_than_a_request_may(world):
    answer = world.peer().ask("long", size=2 * LIMIT)
    assert len(answer["ok"]["text"]) == 2 * LIMIT


def test_an_answer_beyond_all_limits_is_an_error(world, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_LIMIT", 1000)
    assert world.peer().ask("long", size=2000)["error"]["code"] == "SNB-205"


def test_who_asks_without_reading_is_not_listened_to_for_long(world):
    rude, other = world.peer(), world.peer()
    question = frame({"id": 1, "op": "long", "size": 100_000})
    sent = 0
    for _ in range(2000):
        sent += rude.push(question * 20)
        world.turn()
        if world.seen and not rude.push(question):
            break
    assert other.is_served()
    (client,) = [client for client in world.server.clients if len(client._out) > 0]
    # What was under way when its backlog was full is still answered, and nothing after that.
    answered = len(world.seen)
    assert len(client._out) < 3 * module._BACKLOG
    for _ in range(20):
        world.turn()
    assert len(world.seen) == answered
    # Once it reads, it is served again.
    world.until(lambda: rude.read() or len(rude.messages) > answered)


def test_a_subscriber_that_does_not_read_misses_events_and_gets_to_know_it(world):
    slow, other = world.peer(), world.peer()
    slow.ask("subscribe")
    event = {"event": "changes", "text": "x" * 500_000}
    for _ in range(40):
        world.server.tell(event)
        world.turn()
    assert other.is_served()
    slow.messages.clear()
    # Nothing else happens, and still it gets one more event, whose number shows the gap.
    world.until(lambda: slow.read() or any(message["seq"] == 41 for message in slow.messages))
    numbers = [message["seq"] for message in slow.messages]
    assert numbers == sorted(numbers)
    assert len(numbers) < 30
    # From then on nothing is missing.
    world.server.tell({"event": "changes"})
    world.until(lambda: slow.read() or slow.messages[-1]["seq"] == 42)


def test_events_are_numbered_for_each_subscriber(world):
    first, second = world.peer(), world.peer()
    first.ask("subscribe")
    world.server.tell({"event": "a"})
    second.ask("subscribe")
    world.server.tell({"event": "b"})
    world.until(
        lambda: first.read() or second.read() or (len(first.messages) > 2 and len(second.messages) > 1)
    )
    assert [(m["event"], m["seq"]) for m in first.messages if "event" in m] == [("a", 1), ("b", 2)]
    assert [(m["event"], m["seq"]) for m in second.messages if "event" in m] == [("b", 1)]


def test_two_hundred_clients_are_all_served(world):
    peers = []
    for number in range(200):
        peers.append(world.peer())
        # More at once than the queue of the listening socket holds would block this very thread.
        world.until(lambda number=number: len(world.server.clients) > number)
    for number, peer in enumerate(peers):
        peer.send({"id": number, "op": "echo", "word": number})
    world.until(lambda: [peer.read() for peer in peers] and all(len(peer.messages) == 2 for peer in peers))
    assert [peer.messages[1]["ok"]["echo"] for peer in peers] == list(range(200))


def test_without_descriptors_nobody_is_let_in_and_the_processor_rests(world):
    known = world.peer()
    assert known.is_served()
    waiting = Peer(world)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd"))) + 1
    fill = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        with contextlib.suppress(OSError):
            while True:
                fill.append(os.dup(0))
        waiting.sock.connect(world.path)
        waiting.send({"hello": TOKEN, "id": 0})
        begin, turns = time.process_time(), world.turns
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            world.turn()
        assert world.turns - turns < 100
        assert time.process_time() - begin < 0.2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fill:
            os.close(fd)
    world.until(lambda: waiting.read() or waiting.messages)
    assert waiting.messages == [{"id": 0, "ok": {"hello": "there"}}]
    assert known.is_served()
    waiting.sock.close()


def test_only_this_user_may_connect(world):
    assert stat.S_IMODE(os.stat(world.path).st_mode) == 0o600


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_cut_off_even_where_the_folder_lets_him_in(world, tmp_path):
    for folder in [tmp_path, *tmp_path.parents]:
        if folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o011)
    os.chmod(world.path, 0o777)
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(world.path)
            sock.sendall(frame({"hello": TOKEN, "id": 0}))
            os._exit(0 if sock.recv(100) == b"" else 1)
        except (ConnectionError, BrokenPipeError):
            os._exit(0)
        except BaseException:
            os._exit(2)
    ends = []
    world.until(lambda: ends.append(os.waitpid(child, os.WNOHANG)) or ends[-1][0])
    assert os.waitstatus_to_exitcode(ends[-1][1]) == 0
    assert len(world.gone) == 0


def test_closing_cuts_everybody_and_leaves_no_socket(tmp_path):
    before = os.listdir("/proc/self/fd")
    world = World(tmp_path)
    peers = [world.peer() for _ in range(3)]
    assert all(peer.is_served() for peer in peers)
    world.server.close()
    for peer in peers:
        peer.read()
    assert all(peer.is_cut for peer in peers)
    assert not os.path.exists(world.path)
    world.reactor.close()
    for peer in peers:
        peer.sock.close()
    assert os.listdir("/proc/self/fd") == before


def test_what_travels_is_json_in_ascii(world):
    peer = world.peer()
    peer.send({"id": 1, "op": "echo", "word": "☃\udcff"})
    world.until(lambda: select.select([peer.sock], [], [], 0)[0])
    world.turn()
    data = peer.sock.recv(1 << 16)
    assert data.isascii()
    assert json.loads(data[4 : 4 + int.from_bytes(data[:4], "big")])["ok"]
