"""Deploys: `make deploy ENV=dev`, with parameters of the template as PARAMETERS="Name=value …".

Builds the functions, gives the stack to SAM, which migrates and moves the traffic, migrates once more (a
first deployment has no traffic to move), and puts the page up.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra import page
from infra.deployment import ROOT, Deployment, DeploymentError, named

_SAM = ROOT / ".venv-deploy/bin/sam"
_BUILT = ROOT / ".aws-sam/build/template.yaml"
_MARK = ", version "
# As long as the function may run, and no second run beside the first.
_MIGRATING = Config(read_timeout=310, retries={"max_attempts": 0})


def release(deployment: Deployment) -> str:
    """Returns the URL. Raises DeploymentError, CalledProcessError, and what boto3 raises."""
    subprocess.run(["make", "build", f"ARCH={deployment.architecture}"], cwd=ROOT, check=True)
    mark_versions(_BUILT, deployment.parameters)
    subprocess.run(sam_deploy(deployment), cwd=ROOT, check=True)
    outputs = deployment.outputs()
    print(f"migrated: {migrate(deployment, outputs['MigrateFunction'])}")
    files = page.upload(deployment, outputs["PageBucket"], outputs["DistributionId"])
    print(f"page: {files} files")
    return outputs["Url"]


def mark_versions(built: Path, parameters: Mapping[str, str]) -> None:
    """Makes a new version of what has changed in any way, and of nothing else.

    Left to itself, SAM looks at the code alone: traffic would stay with a version that has the old model,
    limits and secrets, whatever a deployment said of them. The mark is in the function's description as
    well: Lambda makes no second version of a function that is the same, and the deployment would fail, as
    it would for a parameter that only the other function is given.
    """
    template = yaml.safe_load(built.read_text("utf-8"))
    settings = [template["Globals"], dict(sorted(parameters.items()))]
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if "AutoPublishAlias" not in properties:
            continue
        properties.pop("AutoPublishCodeSha256", None)
        said = properties["Description"].partition(_MARK)[0]
        properties["Description"] = said
        digest = hashlib.sha256(json.dumps([settings, properties], sort_keys=True).encode())
        folder = built.parent / properties["CodeUri"]
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = hashlib.sha256(path.read_bytes()).digest()
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
        properties["AutoPublishCodeSha256"] = digest.hexdigest()
        properties["Description"] = f"{said}{_MARK}{digest.hexdigest()[:12]}"
    built.write_text(yaml.safe_dump(template, sort_keys=False), "utf-8")


def sam_deploy(deployment: Deployment) -> list[str]:
    # What is given here stands in place of all that the file gives, so that it is both together.
    overrides = [f"{name}={value}" for name, value in deployment.parameters.items()]
    return [
        str(_SAM), "deploy", "--config-file", str(ROOT / "samconfig.toml"), "--config-env", deployment.name,
        "--template-file", str(_BUILT), *(["--parameter-overrides", *overrides] if overrides else []),
    ]  # fmt: skip


def migrate(deployment: Deployment, function: str) -> str:
    """What was applied. Raises DeploymentError where the function failed."""
    answer = deployment.client("lambda", _MIGRATING).invoke(FunctionName=function, Payload=b"{}")
    said = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise DeploymentError(f"the migration failed: {said.get('errorMessage')}")
    if said["ahead"]:
        return "the database is ahead of this version"
    return ", ".join(said["applied"]) or "up to date"


def main(arguments: Sequence[str]) -> int:
    try:
        url = release(named(arguments[0], arguments[1:]))
    except (DeploymentError, BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    print(url)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
