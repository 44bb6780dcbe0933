"""Writes the tables of docs/settings.md: the meaning and the default of every setting in shared/settings.py.

`make docs` runs this module. A test compares the page with the code.
"""

from pathlib import Path

from msgspec import Struct

from shared.database_settings import database_credentials
from shared.environment import Environment
from shared.settings import read_settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"

# Heading and prefixes of setting names. The first heading with a matching prefix applies.
_HEADINGS = (
    ("Database", ("DATABASE_", "MIGRATION_DATABASE_")),
    ("Tokens", ("JWT_", "ALLOW_ANONYMOUS")),
    ("HTTP", ("CORS_", "PROXIES", "STREAM_", "OPENAPI_FILE")),
    ("Limits", ("RATE_LIMIT_", "BUDGET_")),
    ("Prompt", ("HISTORY_", "SYSTEM_PROMPT_")),
    ("Logs, metrics and traces", ("LOG_", "POWERTOOLS_", "TRACING", "AWS_XRAY_")),
    ("Models", ("LLM_", "SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")),
    ("Providers", ("",)),
)
# With these settings, `read_settings` reads all settings.
_ENVIRON = {
    "DATABASE_URL": "postgresql://chat_app@db/chat",
    "MIGRATION_DATABASE_URL": "postgresql://owner@db/chat",
    "JWT_SECRET": "secret",
}


class Setting(Struct, frozen=True):
    """One row of the page. `default` is None if the setting has no default."""

    name: str
    meaning: str
    default: object


class _RecordingEnvironment(Environment):
    """Records each setting that is read, in order."""

    def __init__(self) -> None:
        super().__init__(_ENVIRON)
        self.settings: dict[str, Setting] = {}

    def _value(self, name: str, meaning: str, default: object) -> str | None:
        self.settings.setdefault(name, Setting(name, meaning, default))
        return super()._value(name, meaning, default)


def all_settings() -> list[Setting]:
    """All settings of the functions and of the migrations, in the order in which the code reads them."""
    env = _RecordingEnvironment()
    read_settings(env)
    database_credentials(env, "MIGRATION_DATABASE")
    return list(env.settings.values())


def page() -> str:
    """The new text of docs/settings.md: the current introduction and regenerated tables."""
    rows: dict[str, list[Setting]] = {heading: [] for heading, _ in _HEADINGS}
    for setting in all_settings():
        heading = next(heading for heading, prefixes in _HEADINGS if setting.name.startswith(prefixes))
        rows[heading].append(setting)
    introduction, _, _ = PAGE.read_text("utf-8").partition("\n## ")
    return introduction + "".join(_section(heading, settings) for heading, settings in rows.items())


def _section(heading: str, settings: list[Setting]) -> str:
    lines = [f"| `{setting.name}` | {setting.meaning} | {_default(setting)} |\n" for setting in settings]
    return f"\n## {heading}\n\n| name | meaning | default |\n| --- | --- | --- |\n" + "".join(lines)


def _default(setting: Setting) -> str:
    if setting.default is None:
        return ""
    if isinstance(setting.default, bool):
        return f"`{setting.default}`".lower()
    return f"`{setting.default}`"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
