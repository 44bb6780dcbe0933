"""The process of a function: `python -m shared.lambda_runtime package.module:app`.

Without an argument the app is the handler of the Lambda configuration (`_HANDLER`).
"""

import asyncio
import os
import sys

from shared.lambda_runtime.loop import run
from shared.lambda_runtime.runtime_api import RuntimeApi


def main() -> int:
    target = sys.argv[1] if len(sys.argv) > 1 else os.environ["_HANDLER"]
    return asyncio.run(run(target, RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])))


if __name__ == "__main__":
    sys.exit(main())
