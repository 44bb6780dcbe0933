"""Writes the templates as CloudFormation gets them, for tools that know neither SAM nor YAML's aliases:
`python infra/expand.py FOLDER`. Runs in the environment of the tools that deploy."""

import json
import sys
from pathlib import Path

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

_HERE = Path(__file__).parent


class _NoManagedPolicies:
    """The templates name none; AWS would have to be asked for them."""

    def load(self) -> dict[str, str]:
        return {}


def expanded(template: Path) -> dict[str, object]:
    source = yaml_parse(template.read_text("utf-8"))
    if "Transform" not in source:
        return dict(source)
    # The translator wants code that is in a bucket already, which is where `sam deploy` puts it.
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/code"
    return dict(transform(source, {}, _NoManagedPolicies()))


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for template in sorted(_HERE.glob("*.yaml")):
        (folder / f"{template.stem}.json").write_text(json.dumps(expanded(template), indent=1), "utf-8")


if __name__ == "__main__":
    main()
