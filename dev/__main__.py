"""`python -m dev NAME` runs `dev/NAME.py` with the other arguments.

The module is imported here, inside `command.run`: the import takes a second, in which Ctrl-C may come.
"""

import importlib
import sys
from collections.abc import Callable

from dev import command


def main() -> int:
    module = importlib.import_module(f"dev.{sys.argv.pop(1)}")
    run_module: Callable[[], int] = module.main
    return run_module()


if __name__ == "__main__":
    sys.exit(command.run(main))
