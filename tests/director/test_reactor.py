"""The reactor calls who asked for it, when it was asked for, and nobody else."""

import os
import select
import signal
import threading
import time

import pytest

from stepup_nb.director.reactor import READ, Reactor


@pytest.fixture
def reactor():
    reactor = Reactor()
    yield reactor
    reactor.close()


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


def test_timers_are_called_once_in_the_order_of_their_moments(reactor):
    called = []
    reactor.call_after(0.02, lambda: called.append("b"))
    reactor.call_after(0.0, lambda: called.append("a"))
    reactor.call_after(0.02, lambda: called.append("c"))
    while len(called) < 3:
        reactor.turn()
    reactor.turn(0)
    assert called == ["a", "b", "c"]


def test_a_cancelled_timer_is_not_called(reactor):
    called = []
    timer = reactor.call_after(0.0, lambda: called.append("never"))
    reactor.call_after(0.001, lambda: called.append("done"))
    timer.cancel()
    while not called:
        reactor.turn()
    assert called == ["done"]


def test_a_turn_does_not_wait_for_a_cancelled_timer(reactor):
    reactor.call_after(0.0, lambda: None).cancel()
    begin = time.monotonic()
    reactor.call_after(0.05, lambda: None)
    reactor.turn()
    assert time.monotonic() - begin >= 0.049


@pytest.mark.parametrize("seconds", [3e6, 1e9, 1e300])
def test_a_moment_that_is_years_away_is_waited_for(reactor, seconds):
    # What the user saw: a step with '--timeout 3000000' ended the director with an OverflowError.
    reactor.call_after(seconds, lambda: None)
    reactor.post(lambda: None)
    reactor.turn()


def test_another_thread_wakes_a_turn(reactor):
    called = []
    thread = threading.Thread(target=lambda: reactor.post(lambda: called.append(threading.current_thread())))
    thread.start()
    while not called:
        reactor.turn()
    thread.join()
    assert called == [threading.current_thread()]


def test_what_many_threads_post_is_all_called_each_in_its_order(reactor):
    number, each = 8, 5000
    called = []

    def post_all(name):
        for count in range(each):
            reactor.post(lambda count=count: called.append((name, count)))

    threads = [threading.Thread(target=post_all, args=(name,)) for name in range(number)]
    for thread in threads:
        thread.start()
    while len(called) < number * each:
        reactor.turn()
    for thread in threads:
        thread.join()
    for name in range(number):
        assert [count for who, count in called if who == name] == list(range(each))


def test_what_is_posted_by_what_was_posted_is_called_too(reactor):
    called = []
    reactor.post(lambda: reactor.post(lambda: called.append("inner")))
    reactor.turn()
    assert called == ["inner"]


@pytest.fixture
def usr1():
    before = signal.getsignal(signal.SIGUSR1)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_calls(reactor, usr1):
    called = []
    reactor.on_signal(usr1, lambda: called.append("signal"))
    threading.Timer(0.02, os.kill, (os.getpid(), usr1)).start()
    while not called:
        reactor.turn()
    assert called == ["signal"]


def test_a_signal_ends_a_wait_even_where_python_takes_it_up_after_that(reactor, usr1):
    # Who sent a director SIGTERM as it began to wait was not heard before something else happened.
    reactor.on_signal(usr1, lambda: None)
    signal.signal(usr1, lambda *_: None)
    signal.raise_signal(usr1)
    assert select.select([reactor._epoll], [], [], 0)[0]


def test_a_closed_reactor_heeds_no_signal(usr1):
    reactor = Reactor()
    reactor.on_signal(usr1, lambda: None)
    reactor.close()
    assert signal.set_wakeup_fd(-1) == -1


def test_posting_to_a_closed_reactor_writes_to_no_other_file(tmp_path):
    reactor = Reactor()
    reactor.close()
    # These get the numbers that the reactor gave back.
    files = [os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT) for number in range(8)]
    reactor.post(lambda: None)
    assert [os.fstat(fd).st_size for fd in files] == [0] * 8
    for fd in files:
        os.close(fd)


def test_a_descriptor_is_served_until_it_is_unwatched(reactor, pipe):
    read, write = pipe
    got = []
    reactor.watch(read, READ, lambda: got.append(os.read(read, 1)))
    os.write(write, b"ab")
    reactor.turn()
    reactor.turn()
    assert got == [b"a", b"b"]
    reactor.unwatch(read)
    os.write(write, b"c")
    reactor.turn(0)
    assert got == [b"a", b"b"]


def test_what_an_earlier_call_of_the_turn_unwatched_is_not_called(reactor):
    pipes = [os.pipe() for _ in range(2)]
    called = []

    def take(mine, other):
        called.append(mine)
        reactor.unwatch(other)

    for (read, write), (other, _) in zip(pipes, reversed(pipes), strict=True):
        reactor.watch(read, READ, lambda mine=read, other=other: take(mine, other))
        os.write(write, b"x")
    reactor.turn()
    assert len(called) == 1
    for fd in (fd for both in pipes for fd in both):
        os.close(fd)


def test_closing_gives_every_descriptor_back():
    before = os.listdir("/proc/self/fd")
    Reactor().close()
    assert os.listdir("/proc/self/fd") == before
