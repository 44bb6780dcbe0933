"""The template says what the code says: routes, settings, secrets, and no more rights than they need."""

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from dev import openapi
from dev.front_doors import resource_for
from dev.functions import CHAT_STREAM_ROUTES, CONVERSATIONS_ROUTES, functions
from dev.local import ROOT
from functions.chat_stream import app as chat_stream
from functions.conversations import app as conversations
from shared.endpoint_route import EndpointRoute
from shared.environment import Environment
from shared.llm.providers import PROVIDERS
from shared.settings import database_credentials, load_settings
from tests.infra.templates import Stack, load
from tests.serving import settings

TEMPLATE = load("template.yaml")
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"
EXISTING = {
    "DatabaseHost": "db.example.com",
    "DatabaseOwnerSecretArn": f"{SECRET}owner-abcdef",
    "DatabaseResourceId": "cluster-ABC",
}
# What one may ask of it, each in a way of its own.
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "with a password": {"DatabaseAuth": "password"},
    "with a proxy": {"DatabaseProxy": "true"},
    "with a proxy and a password": {"DatabaseProxy": "true", "DatabaseAuth": "password"},
    "with keys": {"AnthropicApiKey": "key", "OpenaiApiKeySecretArn": f"{SECRET}openai-abcdef"},
    "with a model": {"NvidiaApiKey": "key", "LlmModel": "nvidia/meta/llama-3.3-70b-instruct"},
    "with tokens of others": {
        "JwtJwksUrl": "https://example.com/keys",
        "JwtSecretArn": f"{SECRET}jwt-abcdef",
    },
    "beside a database in a VPC": EXISTING | {"SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1"},
    "beside a public database": EXISTING | {"DatabaseAuth": "password", "FunctionUrls": "true"},
    "reserving nothing": {"ChatConcurrency": 0, "ConversationsConcurrency": 0, "Tracing": "true"},
}
FUNCTIONS = ("ChatStreamFunction", "ConversationsFunction", "MigrateFunction")
# Lambda's, the logger's and tracing's own: no settings of the app.
NOT_SETTINGS = {
    "AWS_LAMBDA_EXEC_WRAPPER", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_SERVICE_NAME", "TRACING",
}  # fmt: skip


def test_the_template_has_the_key_of_each_provider():
    # Servers that need no key, such as Ollama, have no parameter.
    prefixes = {row.name: str(row.settings_prefix) for row in PROVIDERS.values() if row.needs_key}
    parameters = {f"{prefix.title().replace('_', '')}ApiKey" for prefix in prefixes.values()}
    secrets = {f"{parameter}SecretArn" for parameter in parameters}
    assert {name for name in TEMPLATE["Parameters"] if "ApiKey" in name} == parameters | secrets
    stack = Stack("template.yaml", **{name: f"{SECRET}{name}-abcdef" for name in secrets})
    settings = load_settings({**environment(stack, "ChatStreamFunction"), "AWS_REGION": "eu-central-1"})
    assert {name for name, provider in settings.providers.items() if provider.api_key} == prefixes.keys()


@pytest.fixture(params=DEPLOYMENTS)
def stack(request):
    return Stack("template.yaml", **DEPLOYMENTS[request.param])


def properties(name):
    return TEMPLATE["Resources"][name]["Properties"]


def events(name):
    return [event["Properties"] for event in properties(name)["Events"].values()]


def environment(stack, name):
    shared = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    values = stack.value(shared | properties(name)["Environment"]["Variables"])
    return {variable: str(value) for variable, value in values.items()}


class Recording(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, values):
        super().__init__(values)
        self.asked = set()

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


@pytest.mark.parametrize(
    ("name", "routes", "mode"),
    [
        ("ChatStreamFunction", CHAT_STREAM_ROUTES, "RESPONSE_STREAM"),
        ("ConversationsFunction", CONVERSATIONS_ROUTES, None),
    ],
)
def test_routes_are_those_of_the_functions(name, routes, mode):
    assert sorted(event["Path"] for event in events(name)) == sorted(routes)
    # Preflights are answered by the functions.
    assert {event["Method"] for event in events(name)} == {"ANY"}
    assert {event.get("ResponseTransferMode") for event in events(name)} == {mode}


def test_timeouts_are_those_of_the_functions_and_a_stream_may_last_as_long():
    for function in functions({}):
        name = "".join(word.title() for word in function.name.split("_")) + "Function"
        assert properties(name)["Timeout"] == function.timeout
        assert properties(name)["Handler"] == function.handler
    assert {event["TimeoutInMillis"] for event in events("ChatStreamFunction")} == {900_000}


def descended(path, resources):
    """The resource of a path for a gateway that goes down branch by branch and never back up."""
    parts, taken = path.split("/")[1:], ""
    while parts:
        below = {
            resource[len(taken) :].split("/")[1] for resource in resources if resource.startswith(taken + "/")
        }
        part = parts.pop(0)
        named = next((name for name in below if re.fullmatch(r"\{\w+\}", name)), None)
        step = part if part in below else named
        if step is None:
            return next((f"{taken}/{name}" for name in below if name.endswith("+}")), None)
        taken += f"/{step}"
    return taken or "/"


def test_each_route_reaches_its_function_however_the_gateway_looks_for_it():
    """The gateway, the emulator and the local server send each declared path to the function that has it."""
    resources = (*CHAT_STREAM_ROUTES, *CONVERSATIONS_ROUTES)
    configured = settings("postgresql://")
    for create_router, streams in ((chat_stream.create_router, True), (conversations.create_router, False)):
        paths = [route.path for route in create_router(configured).routes if isinstance(route, EndpointRoute)]
        assert paths
        for path in paths:
            asked = path.replace("{id}", "5f2d8c1e")
            assert (descended(asked, resources) in CHAT_STREAM_ROUTES) == streams, path
            assert (resource_for(asked, resources) in CHAT_STREAM_ROUTES) == streams, path


@pytest.mark.parametrize("name", ["ChatStreamFunction", "ConversationsFunction"])
def test_what_a_function_is_given_are_settings_and_it_starts_with_them(stack, name):
    env = Recording(environment(stack, name) | {"AWS_REGION": "eu-central-1"})
    assert load_settings(env)
    assert set(environment(stack, name)) - NOT_SETTINGS <= env.asked


def test_what_the_migration_function_is_given_are_two_logins(stack):
    env = Recording(environment(stack, "MigrateFunction"))
    owner = database_credentials(Environment(env), "MIGRATION_DATABASE")
    assert owner.secret is not None
    assert owner.parameters["host"]
    by_token = Environment(env).boolean("DATABASE_IAM_AUTH", "", default=False)
    assert by_token or database_credentials(Environment(env), "DATABASE").secret is not None
    env.asked |= {"DATABASE_URL", "DATABASE_SECRET_ARN", "LOG_LEVEL"}
    assert set(environment(stack, "MigrateFunction")) - NOT_SETTINGS <= env.asked


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_environment_is_within_the_4_kb_of_lambda(stack, name):
    values = environment(stack, name)
    assert sum(len(variable) + len(value) for variable, value in values.items()) <= 4096


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_reads_the_secrets_that_it_is_given_and_no_others(stack, name):
    given = {
        value
        for variable, value in environment(stack, name).items()
        if variable.endswith("_SECRET_ARN") and value
    }
    assert set(resources(stack, name, "secretsmanager:GetSecretValue")) == given


def statements(stack, name):
    role = properties(name)["Role"]["Fn::GetAtt"][0]
    return [
        statement
        for policy in properties(role)["Policies"]
        for statement in stack.value(policy["PolicyDocument"]["Statement"])
    ]


def resources(stack, name, action):
    for statement in statements(stack, name):
        if statement["Effect"] == "Allow" and action in statement["Action"]:
            yield statement["Resource"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_right_is_for_everything_save_those_that_cannot_be_named(stack, name):
    wide = {
        action
        for statement in statements(stack, name)
        if statement["Effect"] == "Allow" and "*" in (statement["Resource"], statement["Action"])
        for action in statement["Action"]
    }
    # Interfaces have no name before they are made, and traces none at all.
    assert {action.split(":")[0] for action in wide} <= {"ec2", "xray"}
    denied = [statement for statement in statements(stack, name) if statement["Effect"] == "Deny"]
    assert {action for action in wide if action.startswith("ec2:")} == set(denied[0]["Action"])


def test_with_iam_the_functions_that_serve_may_log_in_as_chat_app_and_nobody_else(stack):
    for name in FUNCTIONS:
        allowed = list(resources(stack, name, "rds-db:connect"))
        if name == "MigrateFunction" or not stack.holds("IamAuth"):
            assert allowed == []
        else:
            assert [arn.split("/")[1] for arn in allowed] == ["chat_app"]


def test_traffic_moves_after_the_migration_and_back_when_an_alarm_rings():
    for name in ("ChatStreamFunction", "ConversationsFunction"):
        preference = properties(name)["DeploymentPreference"]
        assert preference["Hooks"] == {"PreTraffic": {"Ref": "MigrateFunction"}}
        canary, at_once = (
            Stack("template.yaml", DeploymentPreference=kind).value(preference["Alarms"])
            for kind in ("Canary10Percent5Minutes", "AllAtOnce")
        )
        assert canary == ["<ChatErrorsAlarm>", "<ConversationsErrorsAlarm>", "<FaultsAlarm>"]
        # CodeDeploy would refuse what is to end the alarm that rings.
        assert at_once == []
        # Else it might be the last version of it that is called.
        assert TEMPLATE["Resources"][name]["DependsOn"] == "MigrateFunction"
        assert properties(name)["AutoPublishAlias"] == "live"
    # CodeDeploy's role may call nothing that is named otherwise.
    assert properties("MigrateFunction")["FunctionName"]["Fn::Sub"].startswith("CodeDeployHook_")


def test_concurrency_is_reserved_unless_nothing_is_to_be():
    reserved = [
        [stack.value(properties(name)).get("ReservedConcurrentExecutions") for name in FUNCTIONS[:2]]
        for stack in (Stack("template.yaml"), Stack("template.yaml", **DEPLOYMENTS["reserving nothing"]))
    ]
    assert reserved == [[50, 20], [None, None]]


def test_nothing_but_the_distribution_may_call_the_api():
    assert properties("Api")["Auth"] == {"ApiKeyRequired": True}
    stack = Stack("template.yaml")
    key = stack.value(properties("OriginKey"))["Value"]
    page = Stack("page.yaml", ApiKeySecretArn=stack.ref("OriginKeySecret"), ApiStage="live", ApiDomain="api")
    [api] = [origin for origin in origins(page) if origin["Id"] == "api"]
    assert api["OriginCustomHeaders"] == [{"HeaderName": "x-api-key", "HeaderValue": key}]


def origins(page):
    return page.value(page.resources["Distribution"]["Properties"]["DistributionConfig"]["Origins"])


def distribution():
    page = Stack("page.yaml", ApiKeySecretArn="arn", ApiStage="live", ApiDomain="api")
    return page.value(page.resources["Distribution"])["Properties"]["DistributionConfig"]


def behaviours():
    return distribution()["CacheBehaviors"]


def test_every_route_of_the_api_is_behind_the_domain_and_no_file_of_the_page_is():
    described = openapi.document()
    patterns = [behaviour["PathPattern"] for behaviour in behaviours()]
    for path in described["paths"]:
        assert any(fnmatchcase(path, pattern) for pattern in patterns), path
    files = [f"/{path.relative_to(ROOT / 'web')}" for path in (ROOT / "web").rglob("*") if path.is_file()]
    assert files
    for file in files:
        assert not any(fnmatchcase(file, pattern) for pattern in patterns), file


def test_the_domain_caches_nothing_of_the_api_and_passes_on_all_but_the_host():
    assert {behaviour["CachePolicyId"] for behaviour in behaviours()} == {
        "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # AWS's CachingDisabled
    }
    assert {behaviour["OriginRequestPolicyId"] for behaviour in behaviours()} == {
        "b689b0a8-53d0-40ab-baf2-38738e2966ac"  # AWS's AllViewerExceptHostHeader
    }
    assert {"PATCH", "DELETE", "OPTIONS"} <= set(behaviours()[-1]["AllowedMethods"])


def test_the_domain_keeps_no_error_which_may_be_another_users_and_replaces_none():
    # Those that CloudFront keeps unless told otherwise, whatever the cache policy says.
    codes = (400, 403, 404, 405, 414, 500, 501, 502, 503, 504)
    assert distribution()["CustomErrorResponses"] == [
        {"ErrorCode": code, "ErrorCachingMinTTL": 0} for code in codes
    ]


def test_the_domain_waits_longer_than_a_stream_is_ever_silent():
    page = Stack("page.yaml", ApiKeySecretArn="arn", ApiStage="live", ApiDomain="api")
    [api] = [origin for origin in origins(page) if origin["Id"] == "api"]
    heartbeat = load_settings({"DATABASE_URL": "postgresql://", "JWT_SECRET": "x" * 32}).stream_heartbeat
    assert api["CustomOriginConfig"]["OriginReadTimeout"] >= 2 * heartbeat


@pytest.mark.parametrize("name", ["database.yaml", "page.yaml", "watch.yaml"])
def test_nested_templates_are_given_what_they_declare(stack, name):
    [nested] = [
        logical
        for logical, resource in stack.resources.items()
        if resource.get("Properties", {}).get("TemplateURL") == name
    ]
    if nested not in stack.made():
        return
    given = stack.value(stack.resources[nested]["Properties"]["Parameters"])
    assert given.keys() == load(name)["Parameters"].keys()
    inner = Stack(name, **given)
    used = re.findall(
        rf"{nested}\.Outputs\.(\w+)", json.dumps(stack.template).replace('", "Outputs', ".Outputs")
    )
    assert set(used) <= inner.template.get("Outputs", {}).keys()
    for resource in inner.made().values():
        inner.value(resource)


def test_every_resource_and_output_makes_sense(stack):
    """Nothing refers to what is not there under these parameters."""
    for resource in stack.made().values():
        stack.value(resource)
    for output in stack.template["Outputs"].values():
        if "Condition" not in output or stack.holds(output["Condition"]):
            stack.value(output["Value"])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("LlmModel", "gpt-6-luna"),
        ("OpenaiBaseUrl", "models.example.com"),
        ("RateLimitChat", "1000000/60"),
        # A field would be missing in the role's policy, and so would the end of the name.
        ("AnthropicApiKeySecretArn", f"{SECRET}keys-abcdef:anthropic"),
        ("JwtSecretArn", f"{SECRET}jwt"),
    ],
)
def test_what_no_function_could_start_with_is_refused_before_anything_is_made(name, wrong):
    pattern = TEMPLATE["Parameters"][name]["AllowedPattern"]
    assert re.fullmatch(pattern, "") or name == "RateLimitChat"
    assert not re.fullmatch(pattern, wrong)


@pytest.mark.parametrize("parameters", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_what_a_function_starts_with_is_not_refused(parameters):
    defaults = {name: parameter["Default"] for name, parameter in TEMPLATE["Parameters"].items()}
    for name, value in (defaults | parameters).items():
        assert re.fullmatch(TEMPLATE["Parameters"][name].get("AllowedPattern", ".*"), str(value)), name


def test_every_parameter_has_its_place_in_the_console_and_a_default():
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    placed = [name for group in groups for name in group["Parameters"]]
    assert sorted(placed) == sorted(TEMPLATE["Parameters"])
    for name, parameter in TEMPLATE["Parameters"].items():
        assert "Default" in parameter, name
        assert "Description" in parameter or "AllowedValues" in parameter, name
    assert all(TEMPLATE["Parameters"][name].get("NoEcho") for name in placed if name.endswith("ApiKey"))


def test_the_pages_headers_are_those_that_it_was_made_with():
    wanted = json.loads((ROOT / "web/headers.json").read_text("utf-8"))
    # Each object brings this one with it.
    del wanted["Cache-Control"]
    policy = load("page.yaml")["Resources"]["Headers"]["Properties"]["ResponseHeadersPolicyConfig"]
    security = policy["SecurityHeadersConfig"]
    seconds = security["StrictTransportSecurity"]["AccessControlMaxAgeSec"]
    assert all(header["Override"] for header in security.values())
    assert {
        "Content-Security-Policy": security["ContentSecurityPolicy"]["ContentSecurityPolicy"],
        "X-Content-Type-Options": "nosniff" if "ContentTypeOptions" in security else None,
        "X-Frame-Options": security["FrameOptions"]["FrameOption"],
        "Referrer-Policy": security["ReferrerPolicy"]["ReferrerPolicy"],
        "Strict-Transport-Security": f"max-age={seconds}",
        **{item["Header"]: item["Value"] for item in policy["CustomHeadersConfig"]["Items"]},
    } == wanted
