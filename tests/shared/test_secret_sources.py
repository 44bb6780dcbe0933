"""When secrets are read again, and which value is used while they cannot be read."""

import asyncio
import threading

import pytest

from shared.errors import Unavailable
from shared.secret_sources import GeneratedToken, JsonFieldSecret, SecretsManagerSecret, StaticSecret


class Clock:
    def __init__(self):
        self.time = 1_000_000.0

    def __call__(self):
        return self.time


class SecretStore:
    """A store with one secret. `readings` are the stages that were read. An error as a stage is raised."""

    def __init__(self, **stages):
        self.stages = stages
        self.readings = []
        self.clock = Clock()
        self.secret = SecretsManagerSecret("name", self.read, now=self.clock)

    def read(self, stage):
        self.readings.append(stage)
        found = self.stages.get(stage)
        if isinstance(found, Exception):
            raise found
        return found


async def background_tasks_done():
    """Waits until all background tasks are done."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others)


def test_a_static_secret_has_one_version():
    async def scenario():
        secret = StaticSecret("a")
        assert (await secret.value(), await secret.current_versions(), await secret.refresh()) == (
            "a",
            ("a",),
            ("a",),
        )
        assert await secret.replacement_for("a") is None
        assert "a secret" not in repr(StaticSecret("a secret"))

    asyncio.run(scenario())


def test_a_stored_secret_is_read_once_at_its_first_use():
    store = SecretStore(AWSCURRENT="a")

    async def scenario():
        assert store.readings == []
        assert await asyncio.gather(*(store.secret.value() for _ in range(10))) == ["a"] * 10
        assert await store.secret.value() == "a"
        assert store.readings == ["AWSCURRENT"]

    asyncio.run(scenario())


def test_an_old_secret_is_read_again_in_the_background():
    store = SecretStore(AWSCURRENT="old")

    async def scenario():
        await store.secret.value()
        store.stages["AWSCURRENT"] = "new"
        store.clock.time += 299
        assert await store.secret.value() == "old"
        assert len(store.readings) == 1
        store.clock.time += 1
        assert await store.secret.value() == "old"
        await background_tasks_done()
        assert await store.secret.value() == "new"
        assert len(store.readings) == 2

    asyncio.run(scenario())


def test_the_last_value_stays_in_use_during_an_outage():
    store = SecretStore(AWSCURRENT="a")

    async def scenario():
        await store.secret.value()
        store.stages["AWSCURRENT"] = OSError("down")
        store.clock.time += 3600
        for _ in range(10):
            assert await store.secret.value() == "a"
            await background_tasks_done()
        assert len(store.readings) == 2  # one read for all callers
        assert await store.secret.replacement_for("a") is None
        store.stages["AWSCURRENT"] = "b"
        store.clock.time += 5
        await store.secret.value()
        await background_tasks_done()
        assert await store.secret.value() == "b"

    asyncio.run(scenario())


def test_a_secret_that_was_never_read_is_read_at_each_use():
    store = SecretStore(AWSCURRENT=OSError("down"))

    async def scenario():
        for _ in range(2):
            with pytest.raises(Unavailable):
                await store.secret.value()
        store.stages["AWSCURRENT"] = "a"
        assert await store.secret.value() == "a"

    asyncio.run(scenario())


def test_a_refused_value_is_replaced_by_the_new_current_one():
    store = SecretStore(AWSCURRENT="old")

    async def scenario():
        await store.secret.value()
        store.stages.update(AWSCURRENT="new", AWSPREVIOUS="old")
        assert await asyncio.gather(*(store.secret.replacement_for("old") for _ in range(3))) == ["new"] * 3
        assert store.readings.count("AWSCURRENT") == 2
        assert await store.secret.value() == "new"

    asyncio.run(scenario())


def test_during_a_rotation_the_pending_value_is_used_after_a_refusal():
    store = SecretStore(AWSCURRENT="old")

    async def scenario():
        await store.secret.value()
        store.stages["AWSPENDING"] = "new"
        assert await store.secret.replacement_for("old") == "new"
        assert await store.secret.value() == "new"
        store.stages = {"AWSCURRENT": "new", "AWSPREVIOUS": "old"}
        store.clock.time += 300
        await store.secret.value()
        await background_tasks_done()
        assert await store.secret.value() == "new"

    asyncio.run(scenario())


def test_refusals_cause_one_read_in_an_interval():
    store = SecretStore(AWSCURRENT="a")

    async def scenario():
        await store.secret.value()
        for _ in range(100):
            assert await store.secret.refresh() == ("a",)
        assert store.readings.count("AWSCURRENT") == 2
        store.clock.time += 5
        await store.secret.refresh()
        assert store.readings.count("AWSCURRENT") == 3

    asyncio.run(scenario())


def test_all_versions_are_read_after_the_first_refresh():
    store = SecretStore(AWSCURRENT="b", AWSPREVIOUS="a", AWSPENDING=OSError("denied"))

    async def scenario():
        assert await store.secret.current_versions() == ("b",)
        assert await store.secret.refresh() == ("b", "a")
        store.stages.update(AWSCURRENT="c", AWSPREVIOUS="b")
        store.clock.time += 300
        await store.secret.current_versions()
        await background_tasks_done()
        assert await store.secret.current_versions() == ("c", "b")

    asyncio.run(scenario())


def test_a_clock_that_is_set_back_does_not_keep_a_secret_fresh():
    store = SecretStore(AWSCURRENT="a")

    async def scenario():
        await store.secret.value()
        store.clock.time -= 86_400
        await store.secret.value()
        await background_tasks_done()
        assert len(store.readings) == 2

    asyncio.run(scenario())


def test_a_cancelled_caller_does_not_cancel_the_read():
    released = threading.Event()

    def read(_):
        released.wait(20)
        return "a"

    async def scenario():
        secret = SecretsManagerSecret("name", read)
        first, second = (asyncio.create_task(secret.value()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        released.set()
        assert await second == "a"

    asyncio.run(scenario())


@pytest.mark.wall_clock
def test_a_caller_waits_for_a_read_for_a_limited_time():
    released = threading.Event()

    def read(_):
        released.wait(20)
        return "a"

    async def scenario():
        secret = SecretsManagerSecret("name", read)
        started_at = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await secret.value()
        assert asyncio.get_running_loop().time() - started_at < 2.5
        released.set()
        await background_tasks_done()
        assert await secret.value() == "a"

    asyncio.run(scenario())


def test_fields_of_one_secret_are_read_together():
    store = SecretStore(AWSCURRENT='{"one": "1", "two": "2", "number": 3}')

    async def scenario():
        one, two = JsonFieldSecret(store.secret, "one"), JsonFieldSecret(store.secret, "two")
        assert (await one.value(), await two.value()) == ("1", "2")
        assert len(store.readings) == 1
        for missing in ("three", "number"):
            with pytest.raises(Unavailable):
                await JsonFieldSecret(store.secret, missing).value()

    asyncio.run(scenario())


def test_a_secret_that_is_not_an_object_has_no_fields():
    store = SecretStore(AWSCURRENT="plain")

    async def scenario():
        with pytest.raises(Unavailable):
            await JsonFieldSecret(store.secret, "one").value()

    asyncio.run(scenario())


def test_a_token_is_generated_at_its_first_use_and_again_before_it_expires():
    tokens: list[str] = []
    clock = Clock()

    def make():
        tokens.append(f"token {len(tokens)}")
        return tokens[-1]

    async def scenario():
        token = GeneratedToken(make, now=clock)
        assert [await token.value(), await token.value()] == ["token 0"] * 2
        clock.time += 599
        assert await token.value() == "token 0"
        clock.time += 1
        assert await token.value() == "token 1"
        assert await token.replacement_for("token 1") == "token 2"
        assert await token.value() == "token 2"

    asyncio.run(scenario())


def test_an_old_token_is_not_used_if_a_new_one_cannot_be_generated():
    clock = Clock()
    works = [True]

    def make():
        if not works[0]:
            raise OSError
        return "token"

    async def scenario():
        token = GeneratedToken(make, now=clock)
        assert await token.value() == "token"
        clock.time += 600
        works[0] = False
        for _ in range(2):
            with pytest.raises(Unavailable):
                await token.value()

    asyncio.run(scenario())
