"""Deploys the stack: `make deploy ENV=dev`, with template parameters as PARAMETERS="Name=value …".

Builds the functions and deploys the stack with SAM, which migrates the database and moves the traffic. Then
migrates again, because the first deployment has no traffic to move, and uploads the page.
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
from infra.deployment import ROOT, Deployment, DeploymentError, load_deployment

_SAM = ROOT / ".venv-deploy/bin/sam"
_BUILT = ROOT / ".aws-sam/build/template.yaml"
_VERSION_MARK = ", version "
# Waits longer than the timeout of the function, and does not retry, so that the migration runs only once.
_MIGRATION_CONFIG = Config(read_timeout=310, retries={"max_attempts": 0})


def release(deployment: Deployment) -> str:
    """Returns the URL. Raises DeploymentError, subprocess.CalledProcessError, and the errors of boto3."""
    subprocess.run(["make", "build", f"ARCH={deployment.architecture}"], cwd=ROOT, check=True)
    mark_versions(_BUILT, deployment.parameters)
    subprocess.run(sam_deploy(deployment), cwd=ROOT, check=True)
    outputs = deployment.outputs()
    print(f"migrated: {migrate(deployment, outputs['MigrateFunction'])}")
    files = page.upload(deployment, outputs["PageBucket"], outputs["DistributionId"])
    print(f"page: {files} files")
    return outputs["Url"]


def mark_versions(built: Path, parameters: Mapping[str, str]) -> None:
    """Edits the built template so that each function that changed gets a new version, and no other function.

    SAM compares only the code, so without this step a changed model, limit or secret would not reach the live
    version. The hash covers all parameters. It is also in the description, because Lambda publishes no new
    version of an identical function, and the deployment would fail if a parameter changes that only the
    other function uses.
    """
    template = yaml.safe_load(built.read_text("utf-8"))
    common = [template["Globals"], dict(sorted(parameters.items()))]
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if "AutoPublishAlias" not in properties:
            continue
        properties.pop("AutoPublishCodeSha256", None)
        description = properties["Description"].partition(_VERSION_MARK)[0]
        properties["Description"] = description
        digest = hashlib.sha256(json.dumps([common, properties], sort_keys=True).encode())
        folder = built.parent / properties["CodeUri"]
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = hashlib.sha256(path.read_bytes()).digest()
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
        properties["AutoPublishCodeSha256"] = digest.hexdigest()
        properties["Description"] = f"{description}{_VERSION_MARK}{digest.hexdigest()[:12]}"
    built.write_text(yaml.safe_dump(template, sort_keys=False), "utf-8")


def sam_deploy(deployment: Deployment) -> list[str]:
    # `--parameter-overrides` replaces all parameters in samconfig.toml, so this has the parameters of both.
    overrides = [f"{name}={value}" for name, value in deployment.parameters.items()]
    return [
        str(_SAM), "deploy", "--config-file", str(ROOT / "samconfig.toml"), "--config-env", deployment.name,
        "--template-file", str(_BUILT), *(["--parameter-overrides", *overrides] if overrides else []),
    ]  # fmt: skip


def migrate(deployment: Deployment, function: str) -> str:
    """Calls the migration function and returns what it applied. Raises DeploymentError if it failed."""
    response = deployment.client("lambda", _MIGRATION_CONFIG).invoke(FunctionName=function, Payload=b"{}")
    result = json.loads(response["Payload"].read())
    if "FunctionError" in response:
        raise DeploymentError(f"the migration failed: {result.get('errorMessage')}")
    if result["ahead"]:
        return "the database is ahead of this version"
    return ", ".join(result["applied"]) or "up to date"


def main(arguments: Sequence[str]) -> int:
    try:
        url = release(load_deployment(arguments[0], arguments[1:]))
    except (DeploymentError, BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    print(url)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
