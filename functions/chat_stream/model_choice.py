"""Decides which models a client can choose."""

from fnmatch import fnmatchcase

from shared import costs
from shared.errors import InvalidRequest
from shared.llm.provider_settings import LONGEST_MODEL
from shared.llm.providers import PROVIDERS
from shared.settings import Settings


class ModelChoice:
    """Allowed are LLM_MODEL, LLM_FALLBACK_MODELS, and each model of a configured provider that matches
    LLM_ALLOWED_MODELS."""

    def __init__(self, settings: Settings) -> None:
        self._configured = tuple(dict.fromkeys((settings.model, *settings.fallback_models)))
        self._patterns = settings.allowed_models
        self._providers = tuple(settings.providers)
        self._allow_unknown_prices = settings.allow_unknown_prices

    @property
    def listed_models(self) -> tuple[str, ...]:
        """The models that can be listed, as `provider/model`, the default first. Patterns with wildcards,
        and models of providers that are not configured, are left out."""
        named = (
            pattern
            for pattern in self._patterns
            if not set(pattern) & set("*?[") and self._is_allowed(pattern) and self._has_price(pattern)
        )
        return tuple(dict.fromkeys((*self._configured, *named)))

    def resolve(self, requested: str | None) -> tuple[str, ...]:
        """The models to try, in order: the requested one, then the configured ones as fallbacks.

        A model can be given without its provider; then the first configured provider for which the name is
        allowed is used. Raises InvalidRequest with the list of allowed models, and for a model without a
        known price where such models are refused (LLM_UNKNOWN_PRICES).
        """
        if requested is None:
            return self._configured
        names = [requested]
        if requested.partition("/")[0] not in PROVIDERS:
            names += [f"{provider}/{requested}" for provider in self._providers]
        for name in names:
            if self._is_allowed(name):
                if not self._has_price(name):
                    raise InvalidRequest(f"the price of the model {name} is not known", field="model")
                return tuple(dict.fromkeys((name, *self._configured)))
        raise InvalidRequest(
            f"model must be one of {', '.join((*self._configured, *self._patterns))}", field="model"
        )

    def _has_price(self, name: str) -> bool:
        return self._allow_unknown_prices or costs.is_priced(name)

    def _is_allowed(self, name: str) -> bool:
        if name in self._configured:
            return True
        provider = name.partition("/")[0]
        # A name that a pattern matches can be too long for the database column.
        if provider not in self._providers or len(name) > LONGEST_MODEL:
            return False
        return any(fnmatchcase(name, pattern) for pattern in self._patterns)
