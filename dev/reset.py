"""`make reset`: removes the local database and files."""

import sys

from dev import command, local


def main() -> int:
    local.reset()
    print("the local database and files are removed")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
