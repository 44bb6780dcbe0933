"""Sources of secrets: when they are read again, and which value is used while they cannot be read."""

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


class Kept:
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


async def settled():
    """Waits until all background tasks are done."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others)


def test_a_static_secret_has_one_version():
    async def scenario():
        given = StaticSecret("a")
        assert (await given.value(), await given.current_versions(), await given.refresh()) == (
            "a",
            ("a",),
            ("a",),
        )
        assert await given.replacement_for("a") is None
        assert "a secret" not in repr(StaticSecret("a secret"))

    asyncio.run(scenario())


def test_a_stored_secret_is_read_once_at_its_first_use():
    kept = Kept(AWSCURRENT="a")

    async def scenario():
        assert kept.readings == []
        assert await asyncio.gather(*(kept.secret.value() for _ in range(10))) == ["a"] * 10
        assert await kept.secret.value() == "a"
        assert kept.readings == ["AWSCURRENT"]

    asyncio.run(scenario())


def test_an_old_secret_is_read_again_in_the_background():
    kept = Kept(AWSCURRENT="old")

    async def scenario():
        await kept.secret.value()
        kept.stages["AWSCURRENT"] = "new"
        kept.clock.time += 299
        assert await kept.secret.value() == "old"
        assert len(kept.readings) == 1
        kept.clock.time += 1
        assert await kept.secret.value() == "old"
        await settled()
        assert await kept.secret.value() == "new"
        assert len(kept.readings) == 2

    asyncio.run(scenario())


def test_in_an_outage_the_last_value_stays_in_use():
    kept = Kept(AWSCURRENT="a")

    async def scenario():
        await kept.secret.value()
        kept.stages["AWSCURRENT"] = OSError("down")
        kept.clock.time += 3600
        for _ in range(10):
            assert await kept.secret.value() == "a"
            await settled()
        assert len(kept.readings) == 2  # and not once for each caller
        assert await kept.secret.replacement_for("a") is None
        kept.stages["AWSCURRENT"] = "b"
        kept.clock.time += 5
        await kept.secret.value()
        await settled()
        assert await kept.secret.value() == "b"

    asyncio.run(scenario())


def test_a_secret_that_could_never_be_read_is_read_at_each_use():
    kept = Kept(AWSCURRENT=OSError("down"))

    async def scenario():
        for _ in range(2):
            with pytest.raises(Unavailable):
                await kept.secret.value()
        kept.stages["AWSCURRENT"] = "a"
        assert await kept.secret.value() == "a"

    asyncio.run(scenario())


def test_a_refused_value_is_replaced_by_the_new_current_one():
    kept = Kept(AWSCURRENT="old")

    async def scenario():
        await kept.secret.value()
        kept.stages.update(AWSCURRENT="new", AWSPREVIOUS="old")
        assert await asyncio.gather(*(kept.secret.replacement_for("old") for _ in range(3))) == ["new"] * 3
        assert kept.readings.count("AWSCURRENT") == 2
        assert await kept.secret.value() == "new"

    asyncio.run(scenario())


def test_during_a_rotation_the_pending_value_is_used_after_a_refusal():
    kept = Kept(AWSCURRENT="old")

    async def scenario():
        await kept.secret.value()
        kept.stages["AWSPENDING"] = "new"
        assert await kept.secret.replacement_for("old") == "new"
        assert await kept.secret.value() == "new"
        kept.stages = {"AWSCURRENT": "new", "AWSPREVIOUS": "old"}
        kept.clock.time += 300
        await kept.secret.value()
        await settled()
        assert await kept.secret.value() == "new"

    asyncio.run(scenario())


def test_refusals_cause_one_read_in_an_interval():
    kept = Kept(AWSCURRENT="a")

    async def scenario():
        await kept.secret.value()
        for _ in range(100):
            assert await kept.secret.refresh() == ("a",)
        assert kept.readings.count("AWSCURRENT") == 2
        kept.clock.time += 5
        await kept.secret.refresh()
        assert kept.readings.count("AWSCURRENT") == 3

    asyncio.run(scenario())


def test_all_versions_are_read_after_the_first_refresh():
    kept = Kept(AWSCURRENT="b", AWSPREVIOUS="a", AWSPENDING=OSError("denied"))

    async def scenario():
        assert await kept.secret.current_versions() == ("b",)
        assert await kept.secret.refresh() == ("b", "a")
        kept.stages.update(AWSCURRENT="c", AWSPREVIOUS="b")
        kept.clock.time += 300
        await kept.secret.current_versions()
        await settled()
        assert await kept.secret.current_versions() == ("c", "b")

    asyncio.run(scenario())


def test_a_clock_that_is_set_back_does_not_keep_a_secret_fresh():
    kept = Kept(AWSCURRENT="a")

    async def scenario():
        await kept.secret.value()
        kept.clock.time -= 86_400
        await kept.secret.value()
        await settled()
        assert len(kept.readings) == 2

    asyncio.run(scenario())


def test_a_cancelled_caller_does_not_cancel_the_read():
    going_on = threading.Event()

    def read(_):
        going_on.wait(20)
        return "a"

    async def scenario():
        secret = SecretsManagerSecret("name", read)
        first, second = (asyncio.create_task(secret.value()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        going_on.set()
        assert await second == "a"

    asyncio.run(scenario())


@pytest.mark.wall_clock
def test_a_caller_waits_for_a_read_for_a_limited_time():
    going_on = threading.Event()

    def read(_):
        going_on.wait(20)
        return "a"

    async def scenario():
        secret = SecretsManagerSecret("name", read)
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await secret.value()
        assert asyncio.get_running_loop().time() - began < 2.5
        going_on.set()
        await settled()
        assert await secret.value() == "a"

    asyncio.run(scenario())


def test_fields_of_one_secret_are_read_together():
    kept = Kept(AWSCURRENT='{"one": "1", "two": "2", "number": 3}')

    async def scenario():
        one, two = JsonFieldSecret(kept.secret, "one"), JsonFieldSecret(kept.secret, "two")
        assert (await one.value(), await two.value()) == ("1", "2")
        assert len(kept.readings) == 1
        for missing in ("three", "number"):
            with pytest.raises(Unavailable):
                await JsonFieldSecret(kept.secret, missing).value()

    asyncio.run(scenario())


def test_a_secret_that_is_not_an_object_has_no_fields():
    kept = Kept(AWSCURRENT="plain")

    async def scenario():
        with pytest.raises(Unavailable):
            await JsonFieldSecret(kept.secret, "one").value()

    asyncio.run(scenario())


def test_a_token_is_generated_at_its_first_use_and_again_before_it_expires():
    made: list[str] = []
    clock = Clock()

    def make():
        made.append(f"token {len(made)}")
        return made[-1]

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


def test_an_old_token_is_not_used_on_after_generating_a_new_one_failed():
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
