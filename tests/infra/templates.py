"""Reads the templates of `infra/` and evaluates them for given parameters.

It has the functions of CloudFormation that the templates use.
"""

import re
from functools import lru_cache
from typing import Any

import yaml

from dev.local import ROOT

INFRA = ROOT / "infra"
_PSEUDO = {
    "AWS::StackName": "chat-dev",
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
_MADE_BY_SAM = re.compile(r"ServerlessDeploymentApplication|\w+FunctionAliaslive")
NO_VALUE = object()


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads short forms: `!Ref x` is `{"Ref": "x"}`."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix in {"Ref", "Condition"}:
        return {suffix: value}
    return {f"Fn::{suffix}": value.split(".", 1) if suffix == "GetAtt" else value}


_Loader.add_multi_constructor("!", _short_form)


@lru_cache
def load(name: str) -> dict[str, Any]:
    template: dict[str, Any] = yaml.load((INFRA / name).read_text("utf-8"), _Loader)
    return template


class Stack:
    """A template with its parameters.

    A reference to a resource has the value `<LogicalId>`, an attribute `<LogicalId.Attribute>`, and a secret
    an ARN.
    """

    def __init__(self, name: str, **parameters: Any) -> None:
        self.template = load(name)
        self.resources = self.template["Resources"]
        declared = self.template["Parameters"]
        assert parameters.keys() <= declared.keys()
        defaults = {name: declared[name].get("Default") for name in declared}
        lists = {name for name in declared if "List" in declared[name]["Type"]}
        self._values = {
            name: (value.split(",") if name in lists else value)
            for name, value in (defaults | parameters).items()
        }

    def made(self) -> dict[str, dict[str, Any]]:
        """The resources whose conditions hold."""
        return {
            name: resource
            for name, resource in self.resources.items()
            if "Condition" not in resource or self.holds(resource["Condition"])
        }

    def holds(self, condition: str) -> bool:
        return bool(self.value(self.template["Conditions"][condition]))

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(function, argument)] = node.items()
            if function in _FUNCTIONS:
                return _FUNCTIONS[function](self, argument)
        values = {name: self.value(child) for name, child in node.items()}
        return {name: value for name, value in values.items() if value is not NO_VALUE}

    def ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in self._values:
            return self._values[name]
        if _MADE_BY_SAM.fullmatch(name):
            return f"<{name}>"
        resource = self.resources[name]
        assert name in self.made(), f"{name} is not made under these parameters"
        if resource["Type"] == "AWS::SecretsManager::Secret":
            return f"arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-abcdef"
        return f"<{name}>"

    def attribute(self, path: list[str]) -> str:
        name, attribute = path
        assert name in self.made(), f"{name} is not made under these parameters"
        if attribute == "DBProxyArn":
            return "arn:aws:rds:eu-central-1:123456789012:db-proxy:prx-1"
        if attribute.endswith("SecretArn"):
            return f"arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-{attribute[-6:]}"
        return (
            "host.example.com"
            if attribute in {"Outputs.Host", "Outputs.Endpoint"}
            else f"<{name}.{attribute}>"
        )

    def sub(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})

        def replaced(match: re.Match[str]) -> str:
            name = match[1]
            if name in own:
                return str(self.value(own[name]))
            return str(self.attribute(name.split(".", 1)) if "." in name else self.ref(name))

        return re.sub(r"\$\{([\w.:]+)\}", replaced, text)

    def chosen(self, argument: list[Any]) -> Any:
        condition, yes, no = argument
        return self.value(yes if self.holds(condition) else no)


def _text(value: Any) -> Any:
    """CloudFormation compares numbers as text."""
    return str(value) if isinstance(value, int | float) else value


_FUNCTIONS: dict[str, Any] = {
    "Ref": Stack.ref,
    "Condition": Stack.holds,
    "Fn::GetAtt": Stack.attribute,
    "Fn::Sub": Stack.sub,
    "Fn::If": Stack.chosen,
    "Fn::Not": lambda stack, argument: not stack.value(argument)[0],
    "Fn::And": lambda stack, argument: all(stack.value(argument)),
    "Fn::Or": lambda stack, argument: any(stack.value(argument)),
    "Fn::Equals": lambda stack, argument: len({_text(value) for value in stack.value(argument)}) == 1,
    "Fn::Join": lambda stack, argument: argument[0].join(stack.value(argument[1])),
    "Fn::Split": lambda stack, argument: stack.value(argument[1]).split(argument[0]),
    "Fn::GetAZs": lambda stack, argument: ["eu-central-1a", "eu-central-1b"],
    "Fn::Select": lambda stack, argument: stack.value(argument[1])[int(argument[0])],
}
