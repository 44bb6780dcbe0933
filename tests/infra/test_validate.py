"""The validators accept the templates, and every suppressed check has its reason."""

import os
import subprocess

from dev.local import ROOT

# Without this, sam reports its use to AWS.
ENVIRON = {**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-central-1"}


def run(*command, cwd=ROOT):
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRON, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_templates_are_valid_and_within_the_policy():
    code, said = run("make", "-s", "validate")
    assert code == 0, said
    assert "is a valid SAM Template" in said
    assert "Failed checks: 0" in said


def test_every_suppression_has_a_reason():
    for template in sorted((ROOT / "infra").glob("*.yaml")):
        for line in template.read_text("utf-8").splitlines():
            if "{id: CKV" in line:
                assert len(line.partition("comment:")[2]) > 20, line
    skipped = [line for line in (ROOT / ".checkov.yaml").read_text("utf-8").splitlines() if "- CKV" in line]
    assert skipped
    assert all(" # " in line for line in skipped)
