"""The workflows have pinned actions, existing commands and few permissions."""

import re
import subprocess

import pytest
import yaml

from dev.local import ROOT

WORKFLOWS = {path.name: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}


def workflow(name):
    # YAML reads the key `on` as true.
    return {str(key): value for key, value in yaml.safe_load(WORKFLOWS[name].read_text("utf-8")).items()}


def steps(name):
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_to_a_commit(name):
    used = [step["uses"] for step in steps(name) if "uses" in step]
    used += [job["uses"] for job in workflow(name)["jobs"].values() if "uses" in job]
    assert used
    for action in used:
        assert action.startswith("./.github/workflows/") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), (
            action
        )
        if action.startswith("./"):
            assert action.rpartition("/")[2] in WORKFLOWS


def test_permissions_are_to_read_the_contents_and_to_request_a_token():
    for name in WORKFLOWS:
        rights = [workflow(name)["permissions"]]
        rights += [job["permissions"] for job in workflow(name)["jobs"].values() if "permissions" in job]
        assert all(given.get("contents") == "read" for given in rights)
        assert all(given.keys() <= {"contents", "id-token"} for given in rights)
    assert workflow("check.yml")["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_commands_are_valid_shell_and_call_existing_targets(name):
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for step in steps(name):
        if "run" in step:
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)
            # An expression could insert text of a pull request into a command.
            assert "${{" not in step["run"]
            for target in re.findall(r"\bmake ([a-z-]+)", step["run"]):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_prod_waits_for_dev_and_dev_waits_for_the_tests():
    jobs = workflow("deploy.yml")["jobs"]
    assert (jobs["dev"]["needs"], jobs["prod"]["needs"]) == ("check", "dev")
    assert [jobs[name]["with"]["environment"] for name in ("dev", "prod")] == ["dev", "prod"]
