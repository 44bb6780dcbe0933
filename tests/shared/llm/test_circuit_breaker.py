from shared.llm.circuit_breaker import CircuitBreaker

MODELS = ["first/a", "second/b"]


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def fail(circuits, name, times=5):
    for _ in range(times):
        circuits.record_failure(name)


def test_all_models_are_available_in_order_while_they_work():
    circuits = CircuitBreaker()
    fail(circuits, "first/a", times=4)
    assert circuits.available(MODELS) == MODELS


def test_a_model_is_skipped_after_five_failures_in_a_row():
    clock = Clock()
    circuits = CircuitBreaker(clock)
    fail(circuits, "first/a")
    assert circuits.available(MODELS) == ["second/b"]
    clock.now += 29
    assert circuits.available(MODELS) == ["second/b"]


def test_after_the_pause_only_one_request_is_allowed_as_a_probe():
    clock = Clock()
    circuits = CircuitBreaker(clock)
    fail(circuits, "first/a")
    clock.now += 31
    assert circuits.available(MODELS) == MODELS
    assert circuits.allow_request("first/a")
    assert not circuits.allow_request("first/a")
    assert circuits.available(MODELS) == ["second/b"]


def test_a_fallback_that_was_not_called_is_not_a_probe():
    clock = Clock()
    circuits = CircuitBreaker(clock)
    fail(circuits, "second/b")
    clock.now += 31
    assert circuits.allow_request("first/a")
    assert circuits.available(MODELS) == MODELS


def test_a_successful_probe_closes_the_circuit():
    clock = Clock()
    circuits = CircuitBreaker(clock)
    fail(circuits, "first/a")
    clock.now += 31
    assert circuits.allow_request("first/a")
    circuits.record_success("first/a")
    assert [circuits.available(MODELS) for _ in range(2)] == [MODELS, MODELS]


def test_a_failed_probe_opens_the_circuit_for_another_pause():
    clock = Clock()
    circuits = CircuitBreaker(clock)
    fail(circuits, "first/a")
    clock.now += 31
    assert circuits.allow_request("first/a")
    circuits.record_failure("first/a")
    clock.now += 29
    assert circuits.available(MODELS) == ["second/b"]


def test_a_success_resets_the_count_of_failures():
    circuits = CircuitBreaker()
    fail(circuits, "first/a", times=4)
    circuits.record_success("first/a")
    fail(circuits, "first/a", times=4)
    assert circuits.available(MODELS) == MODELS


def test_all_models_are_available_if_all_circuits_are_open():
    circuits = CircuitBreaker()
    for name in MODELS:
        fail(circuits, name)
    assert circuits.available(MODELS) == MODELS
