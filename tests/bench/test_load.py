"""The load generator counts tokens, failures and times correctly."""

import socket
import threading
from contextlib import contextmanager

import pytest

from bench import load, subjects
from bench.answers import NotAnswered, Stamps, Words
from bench.load import ConcurrentJob, ModelTarget, SequentialJob
from bench.provider import Answer
from bench.subjects import completions

_HEAD = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def provider():
    with subjects.provider() as served:
        yield served


@contextmanager
def scripted(*connections):
    """A server that handles each connection with the next function."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for answer in connections:
                connection, _ = listener.accept()
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)


def written(script):
    answer = Answer(script)
    return b"".join(answer.write(number) for number in range(len(answer)))


def test_every_word_of_every_turn_is_counted(provider):
    done = load.run_concurrent(ConcurrentJob(completions(provider, "words-50-0", 3), turns=4, tokens=50))
    assert (done.tokens, done.failures, done.delays) == (600, {}, [])


def test_every_stamp_is_counted_with_its_delay(provider):
    job = ConcurrentJob(
        completions(provider, "stamps-40-2000", 3), turns=2, tokens=40, spread=0.01, stamped=True
    )
    done = load.run_concurrent(job)
    assert (done.tokens, done.failures) == (240, {})
    assert done.seconds >= 2 * 39 * 0.002
    assert 0 < len(done.delays) <= 240
    assert all(0 <= delay < done.seconds for delay in done.delays)


@pytest.mark.parametrize("kind", ["words", "stamps"])
def test_a_token_is_counted_once_when_a_read_splits_it(kind):
    data = written(f"{kind}-3-0")
    for cut in range(1, len(data)):
        counter = Words() if kind == "words" else Stamps([])
        assert counter.take(data[:cut]) + counter.take(data[cut:]) == 3
        assert counter.ended
        assert counter.take(data) == 3


def test_an_answer_ends_with_its_last_byte():
    data = written("words-3-0")
    for counter in (Words(), Stamps([])):
        for byte in data:
            assert not counter.ended
            counter.take(bytes([byte]))
        assert counter.ended


def test_a_turn_that_breaks_off_is_counted_as_failed_and_the_next_one_starts():
    def one_and_a_half(connection):
        connection.recv(1000)
        connection.sendall(written("words-10-0"))
        connection.recv(1000)
        connection.sendall(written("words-10-0")[:400])

    def one(connection):
        connection.recv(1000)
        connection.sendall(written("words-10-0"))

    with scripted(one_and_a_half, one) as port:
        done = load.run_concurrent(ConcurrentJob(ModelTarget(port, [_HEAD]), turns=3, tokens=10))
    assert done.failures == {"broken off": 1}
    assert done.tokens >= 20


def test_an_answer_that_is_too_short_is_counted_as_failed(provider):
    done = load.run_concurrent(ConcurrentJob(completions(provider, "words-9-0", 2), turns=3, tokens=10))
    assert done.failures == {"ended early": 6}


def test_a_connection_is_closed_with_its_last_turn():
    hung_up = []

    def one(connection):
        connection.recv(1000)
        connection.sendall(written("words-10-0"))
        hung_up.append(connection.recv(1000))

    def two(connection):
        connection.recv(1000)
        connection.sendall(written("words-10-0"))

    # The server accepts the second connection after the client has closed the first.
    with scripted(one, two) as port:
        done = load.run_concurrent(ConcurrentJob(ModelTarget(port, [_HEAD, _HEAD]), turns=1, tokens=10))
    assert hung_up == [b""]
    assert (done.tokens, done.failures) == (20, {})


def test_sequential_turns_give_the_first_tokens_of_each_target(provider):
    targets = {name: completions(provider, "words-5-100000", 1) for name in ("a", "b")}
    seconds = load.run_sequential(SequentialJob(targets, rounds=2, warm_up=1))
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2}
    # A whole answer takes 0.4 s.
    assert all(0 < first < 0.4 for found in seconds.values() for first in found)


def test_a_refused_request_raises_not_answered(provider):
    refused = ModelTarget(provider.port, [b"POST /nothing HTTP/1.1\r\ncontent-length: 0\r\n\r\n"])
    with pytest.raises(NotAnswered, match="404"):
        load.run_sequential(SequentialJob({"a": refused}, rounds=1))
    with pytest.raises(NotAnswered, match="404"):
        load.run_concurrent(ConcurrentJob(refused, turns=1, tokens=1))
