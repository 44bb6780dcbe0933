"""What `make deploy` does around SAM, against moto's server; the functions themselves are stood in for."""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import uuid4

import jwt
import pytest
import yaml

from infra import deployment, page, release
from infra.deployment import DeploymentError
from tests.infra.templates import load

SECRET = "the deployment's own, long enough for HS256"


@pytest.fixture
def deployed(moto, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    dev = replace(deployment.load_deployment("dev"), stack=f"stack-{uuid4()}")
    secret = dev.client("secretsmanager").create_secret(Name=f"secret-{uuid4()}", SecretString=SECRET)
    stack = {
        "Resources": {"PageBucket": {"Type": "AWS::S3::Bucket"}},
        "Outputs": {"PageBucket": {"Value": {"Ref": "PageBucket"}}, "JwtSecretArn": {"Value": secret["ARN"]}},
    }
    dev.client("cloudformation").create_stack(StackName=dev.stack, TemplateBody=json.dumps(stack))
    return dev


def create_distribution(deployed, bucket):
    origin = {
        "Id": "page",
        "DomainName": f"{bucket}.s3.amazonaws.com",
        "S3OriginConfig": {"OriginAccessIdentity": ""},
    }
    made = deployed.client("cloudfront").create_distribution(
        DistributionConfig={
            "CallerReference": "one",
            "Comment": "",
            "Enabled": True,
            "Origins": {"Quantity": 1, "Items": [origin]},
            "DefaultCacheBehavior": {"TargetOriginId": "page", "ViewerProtocolPolicy": "https-only"},
        }
    )
    return made["Distribution"]["Id"]


def test_the_files_of_the_page_replace_those_of_the_last_deployment(deployed, tmp_path):
    files = {
        "index.html": "<p>",
        "page/app.js": "1",
        "headers.json": '{"Cache-Control": "no-cache"}',
        "x.d.ts": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    bucket = deployed.outputs()["PageBucket"]
    caches = create_distribution(deployed, bucket)
    s3 = deployed.client("s3")
    s3.put_object(Bucket=bucket, Key="old.js", Body=b"")
    assert page.upload(deployed, bucket, caches, tmp_path) == 2
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [
        "index.html",
        "page/app.js",
    ]
    script = s3.get_object(Bucket=bucket, Key="page/app.js")
    assert (script["ContentType"], script["CacheControl"]) == ("text/javascript; charset=utf-8", "no-cache")
    [invalidated] = deployed.client("cloudfront").list_invalidations(DistributionId=caches)[
        "InvalidationList"
    ]["Items"]
    assert invalidated


def test_the_token_of_the_smoke_test_is_signed_with_the_secret_of_the_deployment(deployed):
    claims = jwt.decode(deployed.token(), SECRET, algorithms=["HS256"])
    assert claims["exp"] - claims["iat"] <= 900


class Lambda(BaseHTTPRequestHandler):
    answer = b""
    error = False

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        if self.error:
            self.send_header("X-Amz-Function-Error", "Unhandled")
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *args):
        pass


@pytest.fixture
def function(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = HTTPServer(("127.0.0.1", 0), Lambda)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"http://127.0.0.1:{server.server_port}")
    yield Lambda
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"applied": ["0001_a.sql", "0002_b.sql"], "ahead": False}, "0001_a.sql, 0002_b.sql"),
        ({"applied": [], "ahead": False}, "up to date"),
        ({"applied": [], "ahead": True}, "the database is ahead of this version"),
    ],
    ids=["some", "none", "ahead"],
)
def test_the_result_of_the_migration_is_a_sentence(function, monkeypatch, answer, said):
    monkeypatch.setattr(function, "answer", json.dumps(answer).encode())
    assert release.migrate(deployment.load_deployment("dev"), "migrate") == said


def test_a_failed_migration_ends_the_deployment(function, monkeypatch):
    monkeypatch.setattr(function, "answer", b'{"errorMessage": "0003_c.sql: edited"}')
    monkeypatch.setattr(function, "error", True)
    with pytest.raises(DeploymentError, match=r"the migration failed: 0003_c\.sql: edited"):
        release.migrate(deployment.load_deployment("dev"), "migrate")


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_parameters_in_samconfig_exist_and_have_allowed_values(name):
    declared = load("template.yaml")["Parameters"]
    for key, value in deployment.load_deployment(name).parameters.items():
        allowed = declared[key].get("AllowedValues")
        assert allowed is None or value in {str(each) for each in allowed}, key


def test_parameters_of_the_command_override_those_of_samconfig():
    made = deployment.load_deployment("prod", ["DatabaseStandby=false", "Architecture=x86_64"])
    assert made.architecture == "x86_64"
    command = release.sam_deploy(made)
    assert "DatabaseStandby=false" in command
    assert "NatGateways=2" in command
    assert "DatabaseStandby=true" not in command


def built(folder, code="1", memory=512):
    (folder / "Chat").mkdir(exist_ok=True)
    (folder / "Chat/app.py").write_text(code, "utf-8")
    chat = {"CodeUri": "Chat", "AutoPublishAlias": "live", "MemorySize": memory, "Description": "Chats"}
    template = folder / "template.yaml"
    template.write_text(
        json.dumps(
            {"Globals": {}, "Resources": {"Chat": {"Properties": chat}, "Bucket": {"Type": "bucket"}}}
        ),
        "utf-8",
    )
    return template


def version(template, **parameters):
    release.mark_versions(template, parameters)
    marked = yaml.safe_load(template.read_text("utf-8"))
    assert marked["Resources"]["Bucket"] == {"Type": "bucket"}
    properties = marked["Resources"]["Chat"]["Properties"]
    # Lambda refuses a new version of an unchanged function.
    assert properties["Description"] == f"Chats, version {properties['AutoPublishCodeSha256'][:12]}"
    return properties["AutoPublishCodeSha256"]


def test_a_version_changes_only_with_the_code_the_template_or_a_parameter(tmp_path):
    first = version(built(tmp_path), Model="a", Limit="1")
    assert version(built(tmp_path), Limit="1", Model="a") == first
    # Marked twice, as when a deployment is repeated without a build.
    assert version(tmp_path / "template.yaml", Limit="1", Model="a") == first
    others = {
        version(built(tmp_path), Model="b", Limit="1"),
        version(built(tmp_path, code="2"), Model="a", Limit="1"),
        version(built(tmp_path, memory=1024), Model="a", Limit="1"),
    }
    assert len(others - {first}) == 3


@pytest.mark.parametrize("wrong", ["Name", "=value", "Name=two words"])
def test_a_malformed_parameter_is_refused(wrong):
    with pytest.raises(DeploymentError, match="Name=value"):
        deployment.load_deployment("dev", [wrong])


def test_an_unknown_environment_is_refused():
    with pytest.raises(DeploymentError, match="ENV must be one of dev, prod"):
        deployment.load_deployment("production")
