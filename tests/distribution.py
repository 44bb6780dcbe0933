"""The order in which pytest-xdist gives tests to its workers.

pytest-xdist 3.8 has `--dist loadgroup` for this, which has no effect with pytest 9.2:
https://github.com/pytest-dev/pytest-xdist/issues/1386.
"""

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# By file: the group whose tests run in one worker, because they share a fixture that is slow to make.
GROUPS = {
    "tests/functions/conversations/test_plans.py": "plans",
    "tests/infra/test_bundle.py": "built bundles",
    "tests/infra/test_bundle_serves.py": "bundles that run here",
    "tests/infra/test_cold_start.py": "bundles that run here",
}
# Files with the longest tests. These start early, so that no worker waits for one of them at the end.
FIRST = frozenset({"tests/functions/conversations/test_schemathesis.py", "tests/infra/test_validate.py"})


class Distribution(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a free worker the next test, or the next group of tests. The largest groups are first."""

    def _split_scope(self, nodeid: str) -> str:
        return GROUPS.get(_file(nodeid), nodeid)


def put_longest_first(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _file(item.nodeid) not in FIRST)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]
