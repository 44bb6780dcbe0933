"""`make bench`: takes all measurements and writes the results into docs/performance.md.

With `--quick` it takes fewer measurements and only prints the results.
"""

import argparse
import sys

from bench import report, servers
from bench.run import FULL, QUICK, run


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args(arguments).quick
    results = run(QUICK if quick else FULL, with_litellm=not quick and servers.LITELLM.exists())
    print(report.markdown(results))
    if not quick:
        report.update(results)


if __name__ == "__main__":
    main(sys.argv[1:])
