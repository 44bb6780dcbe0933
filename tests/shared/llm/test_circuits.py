from shared.llm.circuit_breaker import CircuitBreaker

MODELS = ["first/a", "second/b"]


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def broken(circuits, name, times=5):
    for _ in range(times):
        circuits.record_failure(name)


def test_all_models_are_asked_in_their_order_while_they_work():
    circuits = CircuitBreaker()
    broken(circuits, "first/a", times=4)
    assert circuits.available(MODELS) == MODELS


def test_a_model_that_fails_again_and_again_is_passed_over_for_a_while():
    clock = Clock()
    circuits = CircuitBreaker(clock)
    broken(circuits, "first/a")
    assert circuits.available(MODELS) == ["second/b"]
    clock.now += 29
    assert circuits.available(MODELS) == ["second/b"]


def test_then_one_turn_is_the_probe_and_the_others_still_pass_by():
    clock = Clock()
    circuits = CircuitBreaker(clock)
    broken(circuits, "first/a")
    clock.now += 31
    assert circuits.available(MODELS) == MODELS
    assert circuits.allow_request("first/a")
    assert not circuits.allow_request("first/a")
    assert circuits.available(MODELS) == ["second/b"]


def test_a_fallback_that_was_not_needed_is_no_probe():
    clock = Clock()
    circuits = CircuitBreaker(clock)
    broken(circuits, "second/b")
    clock.now += 31
    assert circuits.allow_request("first/a")
    assert circuits.available(MODELS) == MODELS


def test_a_probe_that_works_closes_the_circuit():
    clock = Clock()
    circuits = CircuitBreaker(clock)
    broken(circuits, "first/a")
    clock.now += 31
    assert circuits.allow_request("first/a")
    circuits.record_success("first/a")
    assert [circuits.available(MODELS) for _ in range(2)] == [MODELS, MODELS]


def test_a_probe_that_fails_opens_it_for_as_long_again():
    clock = Clock()
    circuits = CircuitBreaker(clock)
    broken(circuits, "first/a")
    clock.now += 31
    assert circuits.allow_request("first/a")
    circuits.record_failure("first/a")
    clock.now += 29
    assert circuits.available(MODELS) == ["second/b"]


def test_a_success_in_between_starts_the_count_anew():
    circuits = CircuitBreaker()
    broken(circuits, "first/a", times=4)
    circuits.record_success("first/a")
    broken(circuits, "first/a", times=4)
    assert circuits.available(MODELS) == MODELS


def test_where_all_are_broken_all_are_asked():
    circuits = CircuitBreaker()
    for name in MODELS:
        broken(circuits, name)
    assert circuits.available(MODELS) == MODELS
