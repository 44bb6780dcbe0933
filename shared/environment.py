"""Reads typed values from the environment, and names a setting that is missing or malformed."""

import re
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypeVar, overload

from msgspec import Struct

from shared.aws import SecretsManager
from shared.secret_sources import Secret, StaticSecret

T = TypeVar("T", bound=str)


class ConfigError(Exception):
    """A setting is missing or malformed. The message names the setting and never shows its value."""


class RateLimit(Struct, frozen=True):
    """At most `requests` requests in any `seconds` seconds."""

    requests: int
    seconds: int


class Environment:
    """The environment variables. An empty value counts as not set. All methods raise ConfigError for a
    malformed value. `now` is the wall clock that the age of secrets is measured by.

    `meaning` describes the setting for docs/settings.md (dev/settings_page.py). All values are read through
    `_value`, so that a subclass sees each setting with its meaning and its default.
    """

    def __init__(self, environ: Mapping[str, str], *, now: Callable[[], float] = time.time) -> None:
        self._environ = environ
        self._now = now
        self._secrets = SecretsManager(now=now)

    def _value(self, name: str, meaning: str, default: object) -> str | None:  # noqa: ARG002
        """The value of a setting. All other methods read through this one."""
        return self._environ.get(name, "").strip() or None

    @overload
    def text(self, name: str, meaning: str) -> str | None: ...

    @overload
    def text(self, name: str, meaning: str, *, default: str) -> str: ...

    def text(self, name: str, meaning: str, *, default: str | None = None) -> str | None:
        return self._value(name, meaning, default) or default

    def required(self, name: str, meaning: str, *, reason: str) -> str:
        """`reason` completes the sentence about a missing setting."""
        value = self._value(name, meaning, None)
        if value is None:
            raise ConfigError(f"{name} must be set: {reason}.")
        return value

    def secret(self, name: str, meaning: str) -> Secret | None:
        """The secret in `name`, or the secret of Secrets Manager whose ARN is in `<name>_SECRET_ARN`, or in
        `<name>_ARN` if the name ends in SECRET."""
        arn_name = f"{name}_ARN" if name.endswith("SECRET") else f"{name}_SECRET_ARN"
        value = self._value(name, meaning, None)
        secret = self.secret_by_arn(arn_name, f"ARN of a secret in Secrets Manager that holds `{name}`.")
        if value is not None and secret is not None:
            raise ConfigError(f"{name} and {arn_name} must not both be set.")
        return secret if value is None else StaticSecret(value)

    def secret_by_arn(self, name: str, meaning: str) -> Secret | None:
        """The secret of Secrets Manager whose ARN is in `name`, with `:field` for a field of its JSON."""
        arn = self._value(name, meaning, None)
        if arn is None:
            return None
        try:
            return self._secrets.secret(arn)
        except ValueError:
            raise ConfigError(
                f"{name} must be the ARN of a secret in Secrets Manager, with :field for a field of JSON."
            ) from None

    @overload
    def text_matching(self, name: str, meaning: str, *, pattern: str, form: str) -> str | None: ...

    @overload
    def text_matching(self, name: str, meaning: str, *, pattern: str, form: str, default: str) -> str: ...

    def text_matching(
        self, name: str, meaning: str, *, pattern: str, form: str, default: str | None = None
    ) -> str | None:
        """`form` completes the sentence "<name> must be …"."""
        value = self._value(name, meaning, default)
        if value is not None and not re.fullmatch(pattern, value, re.ASCII):
            raise ConfigError(f"{name} must be {form}.")
        return value or default

    def words(self, name: str, meaning: str) -> tuple[str, ...]:
        """The values of a list with commas."""
        value = self._value(name, meaning, None) or ""
        return tuple(word.strip() for word in value.split(",") if word.strip())

    def url(self, name: str, meaning: str, *, default: str | None = None) -> str | None:
        value = self._value(name, meaning, default)
        if value is not None and not re.fullmatch(r"https?://[^\s/]+.*", value):
            raise ConfigError(f"{name} must be an http or https URL.")
        return value

    def proxy(self, name: str, meaning: str) -> str | None:
        """The URL of an HTTP proxy, also from the name in lower case, as other programs read it. A URL
        without a scheme is http."""
        value = self._value(name, meaning, None) or self._environ.get(name.lower(), "").strip() or None
        if value is not None and "://" not in value:
            value = f"http://{value}"
        if value is not None and not re.fullmatch(r"https?://[^\s/]+/?", value):
            raise ConfigError(f"{name} must be the http or https URL of a proxy.")
        return value

    def proxy_exceptions(self, name: str, meaning: str) -> tuple[str, ...]:
        """A list of hosts, also from the name in lower case; in lower case."""
        value = self._value(name, meaning, None) or self._environ.get(name.lower(), "")
        return tuple(value.lower().replace(",", " ").split())

    def origins(self, name: str, meaning: str) -> tuple[str, ...]:
        origins = self.words(name, meaning)
        for origin in origins:
            # The form in which browsers send it: lower case, without user, path and final slash.
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9.:\[\]-]+", origin):
                raise ConfigError(
                    f"{name} must list origins such as https://chat.example.com, without a path."
                )
        return origins

    def boolean(self, name: str, meaning: str, *, default: bool) -> bool:
        value = self._value(name, meaning, default)
        if value is None:
            return default
        if value.lower() not in {"true", "false", "1", "0"}:
            raise ConfigError(f"{name} must be true or false.")
        return value.lower() in {"true", "1"}

    def choice(self, name: str, meaning: str, *, choices: tuple[T, ...], default: T) -> T:
        """One of `choices`, in any case."""
        value = (self._value(name, meaning, default) or default).lower()
        for choice in choices:
            if choice.lower() == value:
                return choice
        raise ConfigError(f"{name} must be one of {', '.join(choices)}.")

    def seconds(self, name: str, meaning: str, *, default: float) -> float:
        value = self._value(name, meaning, default)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or float(value) <= 0:
            raise ConfigError(f"{name} must be a number of seconds greater than 0.")
        return float(value)

    def integer(self, name: str, meaning: str, *, default: int, at_least: int, at_most: int) -> int:
        value = self._value(name, meaning, default)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value) or not at_least <= int(value) <= at_most:
            raise ConfigError(f"{name} must be a whole number from {at_least} to {at_most}.")
        return int(value)

    def optional_integer(self, name: str, meaning: str, *, at_least: int, at_most: int) -> int | None:
        """None if it is not set."""
        if self._value(name, meaning, None) is None:
            return None
        return self.integer(name, meaning, default=at_least, at_least=at_least, at_most=at_most)

    def money(self, name: str, meaning: str) -> Decimal:
        """An amount in USD; 0 if it is not set."""
        value = self._value(name, meaning, 0) or "0"
        if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,10})?", value):
            raise ConfigError(f"{name} must be an amount in USD, or 0 for none.")
        return Decimal(value)

    def rate(self, name: str, meaning: str, *, default: RateLimit) -> RateLimit:
        value = self._value(name, meaning, f"{default.requests}/{default.seconds}")
        if value is None:
            return default
        match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", value)
        if not match:
            raise ConfigError(f"{name} must be requests/seconds, for instance 5/60.")
        return RateLimit(int(match[1]), int(match[2]))

    def file(self, name: str, meaning: str, *, default: str | None = None) -> str | None:
        """The text of the file whose path is in `name`. `default` is only described."""
        path = self._value(name, meaning, default)
        if path is None:
            return None
        try:
            return Path(path).read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{name} must name a readable UTF-8 text file.") from None
