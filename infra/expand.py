"""Writes the templates as plain CloudFormation JSON, for tools that support neither SAM nor YAML aliases:
`python infra/expand.py FOLDER`. Runs in `.venv-deploy`."""

import json
import sys
from pathlib import Path

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

_HERE = Path(__file__).parent


class _NoManagedPolicies:
    """The templates use no managed policies, so none are loaded from AWS."""

    def load(self) -> dict[str, str]:
        return {}


def expand(template: Path) -> dict[str, object]:
    source = yaml_parse(template.read_text("utf-8"))
    if "Transform" not in source:
        return dict(source)
    # The translator requires code in a bucket. `sam deploy` uploads it there before it translates.
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/code"
    return dict(transform(source, {}, _NoManagedPolicies()))


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for template in sorted(_HERE.glob("*.yaml")):
        (folder / f"{template.stem}.json").write_text(json.dumps(expand(template), indent=1), "utf-8")


if __name__ == "__main__":
    main()
