"""The settings: each variable's default, bounds and error; secrets; the list of models; the `.env` file."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.environment import environment
from app.errors import SettingsError
from app.settings import Settings, load_settings

KEY = {"ANTHROPIC_API_KEY": "sk-ant-a-key-of-the-tests"}
SECRET = "a-secret-of-the-tests-é"
SONNET = "claude-sonnet-5-5"

DEFAULTS = {
    "ANTHROPIC_API_KEY": ("api_key", None),
    "ANTHROPIC_BASE_URL": ("base_url", None),
    "LONGHAND_DATA_DIR": ("data_dir", Path("data")),
    "LONGHAND_MODEL": ("model", SONNET),
    "LONGHAND_MODELS": ("models", (SONNET,)),
    "LONGHAND_MAX_CONCURRENT": ("max_concurrent", 100),
    "LONGHAND_MAX_QUEUED": ("max_queued", 1000),
    "LONGHAND_MAX_PER_USER": ("max_per_user", 50),
    "LONGHAND_MAX_THREADS": ("max_threads", 8),
    "LONGHAND_CLAUDE_TIMEOUT": ("claude_timeout", 30),
    "LONGHAND_MAX_ATTEMPTS": ("max_attempts", 4),
    "LONGHAND_MAX_RESUMES": ("max_resumes", 20),
    "LONGHAND_BACKOFF_SECONDS": ("backoff_seconds", 0.5),
    "LONGHAND_MAX_RETRY_AFTER": ("max_retry_after", 300),
    "LONGHAND_MAX_WAIT": ("max_wait", 3600),
    "LONGHAND_MAX_CONTINUATIONS": ("max_continuations", 8),
    "LONGHAND_SECTION_CONCURRENCY": ("section_concurrency", 4),
    "LONGHAND_CHECKPOINT_SECONDS": ("checkpoint_seconds", 2),
    "LONGHAND_DRAIN_SECONDS": ("drain_seconds", 10),
    "LONGHAND_ADMIN_TOKEN": ("admin_token", None),
    "LONGHAND_MAX_CONNECTIONS": ("max_connections", 4000),
    "LONGHAND_MAX_CONNECTIONS_PER_ADDRESS": ("max_connections_per_address", 1000),
    "LONGHAND_RATE_PER_TOKEN": ("rate_per_token", 30_000),
    "LONGHAND_RATE_PER_ADDRESS": ("rate_per_address", 1200),
    "LONGHAND_BODY_GRACE_SECONDS": ("body_grace_seconds", 10),
    "LONGHAND_MIN_BODY_RATE": ("min_body_rate", 1000),
    "LONGHAND_TRUSTED_PROXIES": ("trusted_proxies", ()),
    "LONGHAND_PROXY_HEADER": ("proxy_header", "x-forwarded"),
    "LONGHAND_ALLOWED_HOSTS": ("allowed_hosts", ()),
    "LONGHAND_CORS_ORIGINS": ("cors_origins", ()),
    "LONGHAND_LOG_FORMAT": ("log_format", "console"),
    "LONGHAND_LOG_LEVEL": ("log_level", "info"),
    "LONGHAND_METRICS_PUBLIC": ("metrics_public", False),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("otlp_endpoint", None),
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ("otlp_traces_endpoint", None),
    "OTEL_EXPORTER_OTLP_HEADERS": ("otlp_headers", None),
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": ("otlp_traces_headers", None),
}
"""What API.md's table says of each variable, by field."""

SECONDS = (
    "CLAUDE_TIMEOUT",
    "BACKOFF_SECONDS",
    "MAX_RETRY_AFTER",
    "MAX_WAIT",
    "CHECKPOINT_SECONDS",
    "BODY_GRACE_SECONDS",
)

GOOD = [
    ("ANTHROPIC_API_KEY", "sk-ant-api03-x_y-z", "sk-ant-api03-x_y-z"),
    ("ANTHROPIC_BASE_URL", "https://claude.example.com/proxy/", "https://claude.example.com/proxy"),
    ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ("LONGHAND_DATA_DIR", "/srv/long hand", Path("/srv/long hand")),
    ("LONGHAND_MODEL", "claude-opus-5-5", "claude-opus-5-5"),
    ("LONGHAND_MODEL", "us.anthropic/claude:opus@5", "us.anthropic/claude:opus@5"),
    ("LONGHAND_MAX_CONCURRENT", "1", 1),
    ("LONGHAND_MAX_CONCURRENT", "1000000", 1_000_000),
    ("LONGHAND_MAX_QUEUED", "0", 0),
    ("LONGHAND_MAX_PER_USER", "1", 1),
    ("LONGHAND_MAX_THREADS", "4", 4),
    ("LONGHAND_MAX_THREADS", "256", 256),
    *[(f"LONGHAND_{name}", value, float(value)) for name in SECONDS for value in ("0.5", "86400")],
    *[(f"LONGHAND_{name}", "1", 1) for name in ("MAX_ATTEMPTS", "MAX_RESUMES", "SECTION_CONCURRENCY")],
    ("LONGHAND_MAX_CONTINUATIONS", "0", 0),
    ("LONGHAND_MAX_CONTINUATIONS", "1000", 1000),
    ("LONGHAND_DRAIN_SECONDS", "0", 0),
    ("LONGHAND_DRAIN_SECONDS", "3600", 3600),
    ("LONGHAND_ADMIN_TOKEN", "sixteen-letters-", "sixteen-letters-"),
    *[(f"LONGHAND_{name}", "1", 1) for name in ("MAX_CONNECTIONS", "MIN_BODY_RATE")],
    *[(f"LONGHAND_{name}", "0", 0) for name in ("MAX_CONNECTIONS_PER_ADDRESS", "RATE_PER_TOKEN", "RATE_PER_ADDRESS")],
    ("LONGHAND_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,::1,unix", ("127.0.0.1", "10.0.0.0/8", "::1", "unix")),
    ("LONGHAND_PROXY_HEADER", "forwarded", "forwarded"),
    (
        "LONGHAND_ALLOWED_HOSTS",
        "Reports.example.org,*.example.com,localhost:8000,[::1]:8000",
        ("reports.example.org", "*.example.com", "localhost:8000", "[::1]:8000"),
    ),
    (
        "LONGHAND_CORS_ORIGINS",
        "https://App.example.org,http://localhost:5173",
        (
            "https://app.example.org",
            "http://localhost:5173",
        ),
    ),
    ("LONGHAND_CORS_ORIGINS", "*", ("*",)),
    ("LONGHAND_LOG_FORMAT", "JSON", "json"),
    ("LONGHAND_LOG_LEVEL", "Warning", "warning"),
    ("LONGHAND_METRICS_PUBLIC", "1", True),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/", "http://127.0.0.1:4318"),
]

WRONG = [
    *[("ANTHROPIC_API_KEY", value) for value in ("two words", "“sk-ant-quoted”", "line\nbreak")],
    *[("ANTHROPIC_BASE_URL", value) for value in ("claude.example.com", "ftp://claude.example.com", "https://")],
    *[("LONGHAND_MODEL", value) for value in ("two words", "-o", "x" * 101)],
    ("LONGHAND_MODELS", "claude-opus-5-5,two words"),
    *[
        (f"LONGHAND_MAX_{name}", value)
        for name in ("CONCURRENT", "QUEUED", "PER_USER", "THREADS", "ATTEMPTS", "RESUMES", "CONTINUATIONS")
        for value in ("many", "1.5", "-1", "1000001")
    ],
    ("LONGHAND_MAX_CONCURRENT", "0"),
    ("LONGHAND_MAX_PER_USER", "0"),
    ("LONGHAND_MAX_ATTEMPTS", "0"),
    ("LONGHAND_MAX_RESUMES", "0"),
    ("LONGHAND_MAX_CONTINUATIONS", "1001"),
    *[("LONGHAND_SECTION_CONCURRENCY", value) for value in ("many", "1.5", "0", "-1", "1000001")],
    ("LONGHAND_MAX_THREADS", "3"),
    ("LONGHAND_MAX_THREADS", "257"),
    *[(f"LONGHAND_{name}", value) for name in SECONDS for value in ("soon", "0", "-1", "nan", "inf", "86401")],
    *[("LONGHAND_DRAIN_SECONDS", value) for value in ("soon", "-1", "nan", "inf", "3601")],
    *[
        (f"LONGHAND_{name}", value)
        for name in ("MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS", "RATE_PER_TOKEN", "RATE_PER_ADDRESS")
        for value in ("many", "1.5", "-1", "1000001")
    ],
    *[(f"LONGHAND_{name}", "0") for name in ("MAX_CONNECTIONS", "MIN_BODY_RATE")],
    *[("LONGHAND_TRUSTED_PROXIES", value) for value in ("proxy.example.org", "10.0.0.1/8", "127.0.0.1:80", "*")],
    *[("LONGHAND_PROXY_HEADER", value) for value in ("x-real-ip", "both")],
    *[
        ("LONGHAND_ALLOWED_HOSTS", value)
        for value in ("https://example.org", "*", "example.org/", "a.*.org", "two words")
    ],
    *[
        ("LONGHAND_CORS_ORIGINS", value)
        for value in ("app.example.org", "https://app.example.org/", "null", "https://*")
    ],
    *[
        ("LONGHAND_ADMIN_TOKEN", value)
        for value in ("fifteen-letters", "sixteen letters and more", "é" * 16, "x" * 513)
    ],
    ("LONGHAND_LOG_FORMAT", "xml"),
    ("LONGHAND_LOG_LEVEL", "loud"),
    ("LONGHAND_METRICS_PUBLIC", "perhaps"),
    *[(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT", "127.0.0.1:4318") for name in ("", "TRACES_")],
]


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_variable_that_is_not_set_or_empty_has_its_default(name: str) -> None:
    field, default = DEFAULTS[name]

    for nothing in ({}, {name: ""}, {name: " \t"}):
        others = {} if name == "ANTHROPIC_API_KEY" else KEY
        assert getattr(load_settings(others | nothing), field) == default


def test_the_table_of_defaults_knows_every_setting() -> None:
    assert set(DEFAULTS) == {field.alias for field in Settings.model_fields.values()}


@pytest.mark.parametrize(("name", "value", "expected"), GOOD)
def test_a_good_value_is_taken(name: str, value: str, expected: object) -> None:
    settings = load_settings(KEY | {name: f"  {value} "})

    assert getattr(settings, DEFAULTS[name][0]) == expected


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_told_in_one_line_with_an_example_that_is_right(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as failed:
        load_settings(KEY | {name: value})

    line = str(failed.value)
    fault, _, example = line.removeprefix(f"{name}: ").partition(f" Example: {name}=")
    assert line.startswith(f"{name}: ")
    assert len(line.splitlines()) == 1
    assert fault.endswith(".")
    assert len(fault) > 10
    assert example != "None"
    load_settings(KEY | {name: example})
    assert failed.value.exit_code == 2


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)), st.text(st.characters(exclude_categories=()))))
def test_any_values_are_taken_or_refused_in_one_line(environment: dict[str, str]) -> None:
    line = ""
    try:
        load_settings(environment)
    except SettingsError as failed:
        line = str(failed)

    assert len(line.splitlines()) <= 1
    assert not line or line.partition(":")[0] in environment


def test_a_fault_is_told_in_plain_words() -> None:
    with pytest.raises(SettingsError) as failed:
        load_settings({"LONGHAND_MAX_THREADS": "3"})
    with pytest.raises(SettingsError) as other:
        load_settings({"ANTHROPIC_BASE_URL": "ftp://claude.example.com"})

    assert str(failed.value) == (
        "LONGHAND_MAX_THREADS: input should be greater than or equal to 4. Example: LONGHAND_MAX_THREADS=8"
    )
    assert str(other.value) == (
        "ANTHROPIC_BASE_URL: URL scheme should be 'http' or 'https'. "
        "Example: ANTHROPIC_BASE_URL=https://api.anthropic.com"
    )


def test_secrets_are_not_shown() -> None:
    secrets = {
        "ANTHROPIC_API_KEY": "sk-ant-secret",
        "LONGHAND_ADMIN_TOKEN": "an-admin-token-that-is-secret",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=the-first-secret, x-other=the-second-secret",
    }

    settings = load_settings(secrets)

    assert (settings.api_key, settings.admin_token, settings.otlp_headers) == tuple(secrets.values())
    assert "secret" not in f"{settings!r} {settings}"
    assert {*secrets.values(), "the-first-secret", "the-second-secret"} <= set(settings.secrets)


def test_spans_are_sent_to_the_endpoint_of_traces_or_beneath_the_common_one() -> None:
    common = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318/"}
    own = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4319/here"}

    assert load_settings(KEY).traces_endpoint is None
    assert load_settings(common).traces_endpoint == "http://127.0.0.1:4318/v1/traces"
    assert load_settings(common | own).traces_endpoint == "http://127.0.0.1:4319/here"


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "LONGHAND_ADMIN_TOKEN"])
def test_a_wrong_secret_is_not_quoted(name: str) -> None:
    with pytest.raises(SettingsError) as failed:
        load_settings({name: SECRET})

    assert SECRET not in str(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


@pytest.mark.parametrize(
    ("model", "models", "allowed"),
    [
        ("", "", (SONNET,)),
        ("claude-opus-5-5", "", ("claude-opus-5-5",)),
        ("", "claude-opus-5-5", (SONNET, "claude-opus-5-5")),
        ("claude-opus-5-5", "claude-haiku-5-5 , claude-opus-5-5,,", ("claude-haiku-5-5", "claude-opus-5-5")),
    ],
)
def test_the_default_model_is_always_among_the_allowed_ones(model: str, models: str, allowed: tuple[str, ...]) -> None:
    settings = load_settings(KEY | {"LONGHAND_MODEL": model, "LONGHAND_MODELS": models})

    assert settings.models == allowed
    assert settings.model in allowed


def test_without_a_key_and_an_address_the_offline_writer_serves_alone() -> None:
    settings = load_settings({"LONGHAND_MODEL": "claude-opus-5-5", "LONGHAND_MODELS": "claude-opus-5-5"})

    assert settings.offline
    assert (settings.model, settings.models) == ("offline", ("offline",))


@pytest.mark.parametrize("given", [KEY, {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}])
def test_a_key_or_an_address_alone_is_enough_for_claude(given: dict[str, str]) -> None:
    settings = load_settings(given)

    assert not settings.offline
    assert settings.model == SONNET


def test_settings_cannot_be_changed() -> None:
    settings = load_settings(KEY)

    with pytest.raises(ValidationError, match="frozen"):
        settings.max_threads = 9


def test_other_variables_are_nobodys_business() -> None:
    assert (
        load_settings(KEY | {"PATH": "/bin", "LONGHAND_OF_ANOTHER_VERSION": "x", "max_threads": "1"}).max_threads == 8
    )


def test_a_env_file_is_read_and_the_environment_goes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(
        "LONGHAND_MAX_QUEUED=7\nexport LONGHAND_MAX_PER_USER='8' # why\nLONGHAND_MAX_THREADS\n"
    )
    monkeypatch.setenv("LONGHAND_MAX_PER_USER", "9")
    monkeypatch.delenv("LONGHAND_MAX_QUEUED", raising=False)
    monkeypatch.delenv("LONGHAND_MAX_THREADS", raising=False)

    settings = load_settings(environment())

    assert (settings.max_queued, settings.max_per_user, settings.max_threads) == (7, 9, 8)


def test_without_a_env_file_the_environment_is_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LONGHAND_MAX_QUEUED", "7")

    assert load_settings(environment()).max_queued == 7


def test_a_env_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"LONGHAND_MODEL=\xff\xfe")

    with pytest.raises(SettingsError, match=r"\.env") as failed:
        environment()

    assert len(str(failed.value).splitlines()) == 1
