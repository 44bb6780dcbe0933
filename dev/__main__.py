"""`python -m dev NAME` runs `dev/NAME.py` with the other arguments.

The module is imported inside `command.run`, because the import takes a second and Ctrl-C may come meanwhile.
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
