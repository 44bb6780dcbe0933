"""Reads typed values from the environment, and names a setting that is missing or malformed."""

import re
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

from msgspec import Struct

from shared.aws import SecretsManager
from shared.secret_sources import Secret, StaticSecret


class ConfigError(Exception):
    """A setting is missing or malformed. The message names the setting and never shows its value."""


class RateLimit(Struct, frozen=True):
    """At most `requests` requests in any `seconds` seconds."""

    requests: int
    seconds: int


class Environment:
    """The environment variables. An empty value counts as not set. All methods raise ConfigError for a
    malformed value. `now` is the wall clock that the age of secrets is measured by."""

    def __init__(self, environ: Mapping[str, str], *, now: Callable[[], float] = time.time) -> None:
        self._environ = environ
        self._now = now
        self._secrets = SecretsManager(now=now)

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def required(self, name: str, meaning: str) -> str:
        """`meaning` is added to the sentence about a missing setting."""
        value = self.text(name)
        if value is None:
            raise ConfigError(f"{name} must be set: {meaning}.")
        return value

    def secret(self, name: str, arn_name: str) -> Secret | None:
        """The secret in `name`, or the secret of Secrets Manager whose ARN is in `arn_name`."""
        value, secret = self.text(name), self.secret_by_arn(arn_name)
        if value is not None and secret is not None:
            raise ConfigError(f"{name} and {arn_name} must not both be set.")
        return secret if value is None else StaticSecret(value)

    def secret_by_arn(self, name: str) -> Secret | None:
        """The secret of Secrets Manager whose ARN is in `name`, with `:field` for a field of its JSON."""
        arn = self.text(name)
        if arn is None:
            return None
        try:
            return self._secrets.secret(arn)
        except ValueError:
            raise ConfigError(
                f"{name} must be the ARN of a secret in Secrets Manager, with :field for a field of JSON."
            ) from None

    def text_matching(self, name: str, pattern: str, meaning: str) -> str | None:
        """`meaning` completes the sentence "<name> must be …"."""
        value = self.text(name)
        if value is not None and not re.fullmatch(pattern, value, re.ASCII):
            raise ConfigError(f"{name} must be {meaning}.")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """The values of a list with commas."""
        return tuple(word.strip() for word in (self.text(name) or "").split(",") if word.strip())

    def url(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not re.fullmatch(r"https?://[^\s/]+.*", value):
            raise ConfigError(f"{name} must be an http or https URL.")
        return value

    def origins(self, name: str) -> tuple[str, ...]:
        origins = self.words(name)
        for origin in origins:
            # The form in which browsers send it: lower case, without user, path and final slash.
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9.:\[\]-]+", origin):
                raise ConfigError(
                    f"{name} must list origins such as https://chat.example.com, without a path."
                )
        return origins

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self.text(name)
        if value is None:
            return default
        if value.lower() not in {"true", "false", "1", "0"}:
            raise ConfigError(f"{name} must be true or false.")
        return value.lower() in {"true", "1"}

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = (self.text(name) or default).upper()
        if value not in choices:
            raise ConfigError(f"{name} must be one of {', '.join(choices)}.")
        return value

    def seconds(self, name: str, default: float) -> float:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or float(value) <= 0:
            raise ConfigError(f"{name} must be a number of seconds greater than 0.")
        return float(value)

    def integer(self, name: str, default: int, *, at_least: int, at_most: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value) or not at_least <= int(value) <= at_most:
            raise ConfigError(f"{name} must be a whole number from {at_least} to {at_most}.")
        return int(value)

    def money(self, name: str) -> Decimal:
        value = self.text(name) or "0"
        if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,10})?", value):
            raise ConfigError(f"{name} must be an amount in USD, or 0 for none.")
        return Decimal(value)

    def rate(self, name: str, default: RateLimit) -> RateLimit:
        value = self.text(name)
        if value is None:
            return default
        match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", value)
        if not match:
            raise ConfigError(f"{name} must be requests/seconds, for instance 5/60.")
        return RateLimit(int(match[1]), int(match[2]))

    def file(self, name: str) -> str | None:
        """The text of the file whose path is in `name`."""
        path = self.text(name)
        if path is None:
            return None
        try:
            return Path(path).read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{name} must name a readable UTF-8 text file.") from None
