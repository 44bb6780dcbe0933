"""`make reset`: removes the local database and files."""

import sys

from dev import local
from dev.postgres import ServerInUse


def main() -> int:
    try:
        local.reset()
    except ServerInUse as error:
        print(error, file=sys.stderr)
        return 1
    print("the local database and files are removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
