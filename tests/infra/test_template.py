"""The templates match the code: routes, settings, secrets and rights, for each kind of deployment."""

import json
import re
from fnmatch import fnmatchcase
from typing import Any

from dev import openapi
from dev.functions import CHAT_STREAM_ROUTES, CONVERSATIONS_ROUTES, functions
from dev.lambda_events import resource_for
from dev.local import ROOT
from functions.chat_stream import app as chat_stream
from functions.conversations import app as conversations
from shared.database_settings import database_credentials
from shared.endpoint_route import EndpointRoute
from shared.environment import Environment
from shared.llm.providers import PROVIDERS
from shared.settings import load_settings
from tests.infra.templates import Stack, load
from tests.serving import settings

TEMPLATE = load("template.yaml")
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"
EXISTING = {
    "DatabaseHost": "db.example.com",
    "DatabaseOwnerSecretArn": f"{SECRET}owner-abcdef",
    "DatabaseResourceId": "cluster-ABC",
}
# Parameters that change what the template makes.
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "password": {"DatabaseAuth": "password"},
    "proxy": {"DatabaseProxy": "true"},
    "proxy and password": {"DatabaseProxy": "true", "DatabaseAuth": "password"},
    "API keys": {"AnthropicApiKey": "key", "OpenaiApiKeySecretArn": f"{SECRET}openai-abcdef"},
    "model without a known price": {
        "NvidiaApiKey": "key",
        "LlmModel": "nvidia/meta/llama-3.3-70b-instruct",
        "LlmUnknownPrices": "allow",
    },
    "tokens of an identity provider": {
        "JwtJwksUrl": "https://example.com/keys",
        "JwtSecretArn": f"{SECRET}jwt-abcdef",
    },
    "existing database in a VPC": EXISTING | {"SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1"},
    "existing public database": EXISTING | {"DatabaseAuth": "password", "FunctionUrls": "true"},
    "no reserved concurrency": {"ChatConcurrency": 0, "ConversationsConcurrency": 0, "Tracing": "true"},
}
STACKS = {name: Stack("template.yaml", **parameters) for name, parameters in DEPLOYMENTS.items()}
SERVING = ("ChatStreamFunction", "ConversationsFunction")
FUNCTIONS = (*SERVING, "MigrateFunction")
# Variables of Lambda, the logger and tracing. They are not settings of the app.
NOT_SETTINGS = {
    "AWS_LAMBDA_EXEC_WRAPPER", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_SERVICE_NAME", "TRACING",
}  # fmt: skip
# The actions whose resources have no name in advance: network interfaces, and traces.
UNNAMED = {"ec2", "xray"}
# Other tests compare the resources of these.
TESTED_BY_RESOURCE = {"secretsmanager", "rds-db"}
# The services that each role may call.
SERVICES = {
    "ChatStreamFunction": {"logs", "secretsmanager", "rds-db", *UNNAMED},
    "ConversationsFunction": {"logs", "secretsmanager", "rds-db", *UNNAMED},
    "MigrateFunction": {"logs", "secretsmanager", "codedeploy", "ec2"},
}


def properties(name):
    return TEMPLATE["Resources"][name]["Properties"]


def events(name):
    return [event["Properties"] for event in properties(name)["Events"].values()]


def environment(stack, name):
    shared = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    values = stack.value(shared | properties(name)["Environment"]["Variables"])
    return {variable: str(value) for variable, value in values.items()}


class RecordingEnvironment(dict[str, str]):
    """An environment that records the names that are read."""

    def __init__(self, values):
        super().__init__(values)
        self.read = set()

    def get(self, name, default=None):
        self.read.add(name)
        return super().get(name, default)


def allowed(stack, name):
    return [statement for statement in statements(stack, name) if statement["Effect"] == "Allow"]


def statements(stack, name):
    role = properties(name)["Role"]["Fn::GetAtt"][0]
    return [
        {**statement, "Action": as_list(statement["Action"])}
        for policy in properties(role)["Policies"]
        for statement in stack.value(policy["PolicyDocument"]["Statement"])
    ]


def as_list(value):
    return value if isinstance(value, list) else [value]


def resources(stack, name, action):
    return [statement["Resource"] for statement in allowed(stack, name) if action in statement["Action"]]


# Routes


def test_the_gateway_has_the_routes_of_each_function_and_streams_the_chat():
    for name, routes, mode in (
        ("ChatStreamFunction", CHAT_STREAM_ROUTES, "RESPONSE_STREAM"),
        ("ConversationsFunction", CONVERSATIONS_ROUTES, None),
    ):
        assert sorted(event["Path"] for event in events(name)) == sorted(routes)
        # The functions answer preflights.
        assert {event["Method"] for event in events(name)} == {"ANY"}
        assert {event.get("ResponseTransferMode") for event in events(name)} == {mode}


def descend(path, resources):
    """The resource of a path for a gateway that goes down the tree of resources and never back up."""
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


def test_each_route_reaches_its_function_in_both_ways_to_choose_a_resource():
    """The gateway, the emulator and the local server send each declared path to the function that has it."""
    resources = (*CHAT_STREAM_ROUTES, *CONVERSATIONS_ROUTES)
    configured = settings("postgresql://")
    for create_router, streams in ((chat_stream.create_router, True), (conversations.create_router, False)):
        paths = [route.path for route in create_router(configured).routes if isinstance(route, EndpointRoute)]
        assert paths
        for path in paths:
            asked = path.replace("{id}", "5f2d8c1e")
            assert (descend(asked, resources) in CHAT_STREAM_ROUTES) == streams, path
            assert (resource_for(asked, resources) in CHAT_STREAM_ROUTES) == streams, path


def test_timeouts_are_those_of_the_functions_and_a_stream_may_last_as_long():
    for function in functions({}):
        name = "".join(word.title() for word in function.name.split("_")) + "Function"
        assert properties(name)["Timeout"] == function.timeout
        assert properties(name)["Handler"] == function.handler
        if name == "ChatStreamFunction":
            assert {event["TimeoutInMillis"] for event in events(name)} == {function.timeout * 1000}


# Settings and secrets


def test_the_template_has_the_key_of_each_provider():
    # Servers that need no key, such as Ollama, have no parameter.
    prefixes = {row.name: str(row.settings_prefix) for row in PROVIDERS.values() if row.needs_key}
    parameters = {f"{prefix.title().replace('_', '')}ApiKey" for prefix in prefixes.values()}
    secrets = {f"{parameter}SecretArn" for parameter in parameters}
    assert {name for name in TEMPLATE["Parameters"] if "ApiKey" in name} == parameters | secrets
    stack = Stack("template.yaml", **{name: f"{SECRET}{name}-abcdef" for name in secrets})
    settings = load_settings({**environment(stack, "ChatStreamFunction"), "AWS_REGION": "eu-central-1"})
    assert {name for name, provider in settings.providers.items() if provider.api_key} == prefixes.keys()


def test_a_function_starts_with_its_variables_and_reads_all_of_them():
    for deployment, stack in STACKS.items():
        for name in SERVING:
            env = RecordingEnvironment(environment(stack, name) | {"AWS_REGION": "eu-central-1"})
            assert load_settings(env), (deployment, name)
            unread = set(environment(stack, name)) - NOT_SETTINGS - env.read
            assert unread == set(), (deployment, name)


def test_the_migration_function_has_the_logins_of_the_owner_and_of_the_app():
    for deployment, stack in STACKS.items():
        env = RecordingEnvironment(environment(stack, "MigrateFunction"))
        owner = database_credentials(Environment(env), "MIGRATION_DATABASE")
        assert owner.secret is not None, deployment
        assert owner.parameters["host"], deployment
        by_token = env.get("DATABASE_IAM_AUTH") == "true"
        app = by_token or database_credentials(Environment(env), "DATABASE").secret
        assert app, deployment
        unread = set(environment(stack, "MigrateFunction")) - NOT_SETTINGS - env.read
        assert unread <= {"DATABASE_URL", "DATABASE_SECRET_ARN", "LOG_LEVEL"}, deployment


def test_every_environment_is_within_the_4_kb_of_lambda():
    for deployment, stack in STACKS.items():
        for name in FUNCTIONS:
            values = environment(stack, name)
            assert sum(map(len, [*values, *values.values()])) <= 4096, (deployment, name)


def test_a_secret_value_is_in_its_secret_and_nowhere_else():
    hidden = [name for name, parameter in TEMPLATE["Parameters"].items() if parameter.get("NoEcho")]
    assert {name for name in TEMPLATE["Parameters"] if name.endswith("ApiKey")} <= set(hidden)
    stack = Stack("template.yaml", **{name: f"the value of {name}" for name in hidden})
    holders = {}
    for name, resource in stack.made().items():
        made = stack.value(resource)
        if made["Type"] == "AWS::SecretsManager::Secret":
            holders[name] = made["Properties"].pop("SecretString", None)
        assert "the value of" not in json.dumps(made), name
    assert sorted(filter(None, holders.values())) == sorted(f"the value of {name}" for name in hidden)
    for name, output in stack.template["Outputs"].items():
        if "Condition" not in output or stack.holds(output["Condition"]):
            value = str(stack.value(output["Value"]))
            assert "the value of" not in value, name
            assert "{{resolve:" not in value, name


# Rights


def test_a_function_may_read_the_secrets_in_its_environment_and_no_others():
    for deployment, stack in STACKS.items():
        for name in FUNCTIONS:
            given = {
                value
                for variable, value in environment(stack, name).items()
                if variable.endswith("_SECRET_ARN") and value
            }
            assert set(resources(stack, name, "secretsmanager:GetSecretValue")) == given, (deployment, name)


def test_a_function_has_rights_to_named_resources_of_few_services():
    for deployment, stack in STACKS.items():
        for name in FUNCTIONS:
            for statement in allowed(stack, name):
                services = {action.split(":")[0] for action in statement["Action"]}
                assert services <= SERVICES[name], (deployment, name)
                assert not any("*" in action for action in statement["Action"]), (deployment, name)
                if not services <= UNNAMED | TESTED_BY_RESOURCE:
                    # `<Name>` stands for a resource of this stack.
                    assert "<" in statement["Resource"], (deployment, name)


def test_only_lambda_itself_may_use_the_rights_to_network_interfaces():
    for deployment, stack in STACKS.items():
        for name in FUNCTIONS:
            network = {
                action
                for statement in allowed(stack, name)
                for action in statement["Action"]
                if action.startswith("ec2:")
            }
            [denied] = [each for each in statements(stack, name) if each["Effect"] == "Deny"]
            assert network == set(denied["Action"]), (deployment, name)


def test_with_iam_the_functions_that_serve_may_log_in_as_chat_app_only():
    for deployment, stack in STACKS.items():
        for name in FUNCTIONS:
            users = [arn.split("/")[1] for arn in resources(stack, name, "rds-db:connect")]
            expected = ["chat_app"] if name in SERVING and stack.holds("IamAuth") else []
            assert users == expected, (deployment, name)


# Deployment


def test_traffic_moves_after_the_migration_and_back_when_an_alarm_rings():
    for name in SERVING:
        preference = properties(name)["DeploymentPreference"]
        assert preference["Hooks"] == {"PreTraffic": {"Ref": "MigrateFunction"}}
        canary, at_once = (
            Stack("template.yaml", DeploymentPreference=kind).value(preference["Alarms"])
            for kind in ("Canary10Percent5Minutes", "AllAtOnce")
        )
        assert canary == ["<ChatErrorsAlarm>", "<ConversationsErrorsAlarm>", "<FaultsAlarm>"]
        # While an alarm rings, CodeDeploy refuses a deployment that names the alarm, and so also the repair.
        assert at_once == []
        # Without this, CodeDeploy could call the last version of the migration.
        assert TEMPLATE["Resources"][name]["DependsOn"] == "MigrateFunction"
        assert properties(name)["AutoPublishAlias"] == "live"
    # The role of CodeDeploy may call only functions with this prefix.
    assert properties("MigrateFunction")["FunctionName"]["Fn::Sub"].startswith("CodeDeployHook_")


def test_concurrency_is_reserved_unless_the_parameter_is_0():
    for deployment, reserves in (("defaults", True), ("no reserved concurrency", False)):
        for name in SERVING:
            value = STACKS[deployment].value(properties(name)).get("ReservedConcurrentExecutions")
            assert (value is not None) == reserves, name


# The domain


def page():
    return Stack("page.yaml", ApiKeySecretArn="arn", ApiStage="live", ApiDomain="api")


def distribution():
    stack = page()
    return stack.value(stack.resources["Distribution"])["Properties"]["DistributionConfig"]


def api_origin(distribution):
    [api] = [origin for origin in distribution["Origins"] if origin["Id"] == "api"]
    return api


def test_only_the_distribution_may_call_the_api():
    assert properties("Api")["Auth"] == {"ApiKeyRequired": True}
    stack = Stack("template.yaml")
    key = stack.value(properties("OriginKey"))["Value"]
    page = Stack("page.yaml", ApiKeySecretArn=stack.ref("OriginKeySecret"), ApiStage="live", ApiDomain="api")
    api = api_origin(page.value(page.resources["Distribution"])["Properties"]["DistributionConfig"])
    assert api["OriginCustomHeaders"] == [{"HeaderName": "x-api-key", "HeaderValue": key}]


def test_the_domain_sends_every_route_and_no_file_of_the_page_to_the_api():
    patterns = [behaviour["PathPattern"] for behaviour in distribution()["CacheBehaviors"]]
    for path in openapi.document()["paths"]:
        assert any(fnmatchcase(path, pattern) for pattern in patterns), path
    files = [f"/{path.relative_to(ROOT / 'web')}" for path in (ROOT / "web").rglob("*") if path.is_file()]
    assert files
    for file in files:
        assert not any(fnmatchcase(file, pattern) for pattern in patterns), file


def test_the_domain_does_not_cache_the_api_and_passes_on_all_headers_but_the_host():
    for behaviour in distribution()["CacheBehaviors"]:
        # CachingDisabled and AllViewerExceptHostHeader of AWS.
        assert behaviour["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
        assert behaviour["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-38738e2966ac"
        assert {"PATCH", "DELETE", "OPTIONS"} <= set(behaviour["AllowedMethods"])


def test_the_domain_neither_caches_nor_replaces_errors():
    # CloudFront caches errors with these statuses unless told otherwise, even if the cache policy says no.
    # The error of one user would then reach another.
    codes = (400, 403, 404, 405, 414, 500, 501, 502, 503, 504)
    assert distribution()["CustomErrorResponses"] == [
        {"ErrorCode": code, "ErrorCachingMinTTL": 0} for code in codes
    ]


def test_the_domain_waits_longer_than_a_stream_is_silent():
    api = api_origin(distribution())
    heartbeat = load_settings({"DATABASE_URL": "postgresql://", "JWT_SECRET": "x" * 32}).stream_heartbeat
    assert api["CustomOriginConfig"]["OriginReadTimeout"] >= 2 * heartbeat


def test_the_headers_of_the_page_are_those_of_headers_json():
    expected = json.loads((ROOT / "web/headers.json").read_text("utf-8"))
    # `make deploy` sets this one on each object.
    del expected["Cache-Control"]
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
    } == expected


# Parameters and references


def test_references_are_to_resources_that_exist_under_the_same_parameters():
    for stack in STACKS.values():
        evaluate(stack)
        for name in ("database.yaml", "page.yaml", "watch.yaml"):
            [nested] = [
                logical
                for logical, resource in stack.resources.items()
                if resource.get("Properties", {}).get("TemplateURL") == name
            ]
            if nested not in stack.made():
                continue
            given = stack.value(stack.resources[nested]["Properties"]["Parameters"])
            assert given.keys() == load(name)["Parameters"].keys()
            inner = Stack(name, **given)
            evaluate(inner)
            used = re.findall(
                rf"{nested}\.Outputs\.(\w+)", json.dumps(stack.template).replace('", "Outputs', ".Outputs")
            )
            assert set(used) <= inner.template.get("Outputs", {}).keys()


def evaluate(stack):
    for resource in stack.made().values():
        stack.value(resource)
    for output in stack.template.get("Outputs", {}).values():
        if "Condition" not in output or stack.holds(output["Condition"]):
            stack.value(output["Value"])


def test_a_parameter_that_no_function_can_start_with_is_refused():
    for name, wrong in (
        ("LlmModel", "gpt-6-luna"),
        ("OpenaiBaseUrl", "models.example.com"),
        ("RateLimitChat", "1000000/60"),
        # The policy of the role needs the name with its random end, and no field behind it.
        ("AnthropicApiKeySecretArn", f"{SECRET}keys-abcdef:anthropic"),
        ("JwtSecretArn", f"{SECRET}jwt"),
    ):
        pattern = TEMPLATE["Parameters"][name]["AllowedPattern"]
        assert re.fullmatch(pattern, "") or name == "RateLimitChat"
        assert not re.fullmatch(pattern, wrong), name


def test_defaults_and_parameters_that_a_function_starts_with_are_not_refused():
    defaults = {name: parameter["Default"] for name, parameter in TEMPLATE["Parameters"].items()}
    for parameters in DEPLOYMENTS.values():
        for name, value in (defaults | parameters).items():
            pattern = TEMPLATE["Parameters"][name].get("AllowedPattern", ".*")
            assert re.fullmatch(pattern, str(value)), name


def test_every_parameter_is_in_a_group_of_the_console_and_described():
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    placed = [name for group in groups for name in group["Parameters"]]
    assert sorted(placed) == sorted(TEMPLATE["Parameters"])
    for name, parameter in TEMPLATE["Parameters"].items():
        assert "Description" in parameter or "AllowedValues" in parameter, name
