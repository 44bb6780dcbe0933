"""`make token`: a signed token for the local server, and nothing else on stdout."""

import os
import sys
from uuid import UUID

from dev import command, local


def main() -> int:
    try:
        user_id = UUID(os.environ.get("USER_ID") or str(local.LOCAL_USER))
    except ValueError:
        print("USER_ID must be a UUID.", file=sys.stderr)
        return 2
    print(local.token(user_id))
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
