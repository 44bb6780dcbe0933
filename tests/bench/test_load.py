"""The load generator."""

import socket
import threading
from contextlib import contextmanager

import pytest

from bench import load, servers
from bench.http_client import StampCounter, TurnFailed, WordCounter
from bench.load import ConcurrentJob, LoadTarget, SequentialJob
from bench.provider import Answer
from bench.servers import completions

_HEAD = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def provider():
    with servers.provider() as served:
        yield served


@contextmanager
def scripted_server(*handlers):
    """Handles each connection with the next handler. Yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for handler in handlers:
                connection, _ = listener.accept()
                with connection:
                    handler(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)


def response(script):
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
    data = response(f"{kind}-3-0")
    for cut in range(1, len(data)):
        counter = WordCounter() if kind == "words" else StampCounter([])
        assert counter.count(data[:cut]) + counter.count(data[cut:]) == 3
        assert counter.complete
        assert counter.count(data) == 3


def test_a_response_is_complete_with_its_last_byte():
    data = response("words-3-0")
    for counter in (WordCounter(), StampCounter([])):
        for byte in data:
            assert not counter.complete
            counter.count(bytes([byte]))
        assert counter.complete


def test_a_turn_that_is_cut_off_counts_as_failed_and_the_next_turn_starts():
    def one_and_a_half(connection):
        connection.recv(1000)
        connection.sendall(response("words-10-0"))
        connection.recv(1000)
        connection.sendall(response("words-10-0")[:400])

    def one(connection):
        connection.recv(1000)
        connection.sendall(response("words-10-0"))

    with scripted_server(one_and_a_half, one) as port:
        done = load.run_concurrent(ConcurrentJob(LoadTarget(port, [_HEAD]), turns=3, tokens=10))
    assert done.failures == {"response cut off": 1}
    assert done.tokens >= 20


def test_a_response_with_too_few_tokens_counts_as_failed(provider):
    done = load.run_concurrent(ConcurrentJob(completions(provider, "words-9-0", 2), turns=3, tokens=10))
    assert done.failures == {"wrong number of tokens": 6}


def test_the_client_closes_a_connection_after_its_last_turn():
    received_after_response = []

    def one(connection):
        connection.recv(1000)
        connection.sendall(response("words-10-0"))
        received_after_response.append(connection.recv(1000))

    def two(connection):
        connection.recv(1000)
        connection.sendall(response("words-10-0"))

    # The server accepts the second connection after the client has closed the first.
    with scripted_server(one, two) as port:
        done = load.run_concurrent(ConcurrentJob(LoadTarget(port, [_HEAD, _HEAD]), turns=1, tokens=10))
    assert received_after_response == [b""]
    assert (done.tokens, done.failures) == (20, {})


def test_a_sequential_job_measures_the_first_token_of_each_target(provider):
    targets = {name: completions(provider, "words-5-100000", 1) for name in ("a", "b")}
    seconds = load.run_sequential(SequentialJob(targets, rounds=2, warm_up=1))
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2}
    # A complete response takes 0.4 s.
    assert all(0 < first < 0.4 for found in seconds.values() for first in found)


def test_a_refused_request_raises_turn_failed(provider):
    refused = LoadTarget(provider.port, [b"POST /nothing HTTP/1.1\r\ncontent-length: 0\r\n\r\n"])
    with pytest.raises(TurnFailed, match="404"):
        load.run_sequential(SequentialJob({"a": refused}, rounds=1))
    with pytest.raises(TurnFailed, match="404"):
        load.run_concurrent(ConcurrentJob(refused, turns=1, tokens=1))
