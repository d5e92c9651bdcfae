"""Settings: one frozen value, made once at the start from environment variables."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from app.addresses import check_hosts, check_origins, check_proxies
from app.errors import SettingsError

DEFAULT_MODEL = "claude-sonnet-5-5"
OFFLINE_MODEL = "offline"

EXAMPLES = {
    "ANTHROPIC_API_KEY": "sk-ant-api03-as-the-console-shows-it",
    "ANTHROPIC_BASE_URL": "https://api.anthropic.com",
    "LONGHAND_MODEL": DEFAULT_MODEL,
    "LONGHAND_MODELS": f"{DEFAULT_MODEL},claude-opus-5-5",
    "LONGHAND_DATA_DIR": "./data",
    "LONGHAND_TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8",
    "LONGHAND_ALLOWED_HOSTS": "reports.example.org,*.example.com",
    "LONGHAND_CORS_ORIGINS": "https://app.example.org",
    "LONGHAND_ADMIN_TOKEN": "a-random-text-of-32-characters-x",
    "LONGHAND_METRICS_PUBLIC": "1",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces",
}


def _web_address(value: str) -> str:
    TypeAdapter(HttpUrl).validate_python(value)
    return value.rstrip("/")


def _model_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,99}", value):
        raise ValueError("this is not the name of a model")
    return value


def _api_key(value: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("a key is printable ASCII characters without spaces")
    return value


def _token_text(value: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{16,512}", value):
        raise ValueError("a token is 16 to 512 printable ASCII characters without spaces")
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


ModelName = Annotated[str, AfterValidator(_model_name)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
CountOrOff = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Words = Annotated[tuple[str, ...], BeforeValidator(_split)]


class Settings(BaseModel):
    """All settings; a field's alias is its environment variable. Secrets do not show in `repr`."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    api_key: Annotated[str | None, AfterValidator(_api_key), Field(alias="ANTHROPIC_API_KEY", repr=False)] = None
    base_url: Annotated[str | None, AfterValidator(_web_address), Field(alias="ANTHROPIC_BASE_URL")] = None
    data_dir: Annotated[Path, Field(alias="LONGHAND_DATA_DIR")] = Path("data")
    model: Annotated[ModelName, Field(alias="LONGHAND_MODEL")] = DEFAULT_MODEL
    models: Annotated[tuple[ModelName, ...], BeforeValidator(_split), Field(alias="LONGHAND_MODELS")] = ()
    max_concurrent: Annotated[Count, Field(alias="LONGHAND_MAX_CONCURRENT")] = 100
    max_queued: Annotated[int, Field(alias="LONGHAND_MAX_QUEUED", ge=0, le=1_000_000)] = 1000
    max_per_user: Annotated[Count, Field(alias="LONGHAND_MAX_PER_USER")] = 50
    max_threads: Annotated[int, Field(alias="LONGHAND_MAX_THREADS", ge=4, le=256)] = 8
    claude_timeout: Annotated[Seconds, Field(alias="LONGHAND_CLAUDE_TIMEOUT")] = 30
    max_attempts: Annotated[Count, Field(alias="LONGHAND_MAX_ATTEMPTS")] = 4
    max_resumes: Annotated[Count, Field(alias="LONGHAND_MAX_RESUMES")] = 20
    max_retry_after: Annotated[Seconds, Field(alias="LONGHAND_MAX_RETRY_AFTER")] = 300
    max_wait: Annotated[Seconds, Field(alias="LONGHAND_MAX_WAIT")] = 3600
    backoff_seconds: Annotated[Seconds, Field(alias="LONGHAND_BACKOFF_SECONDS")] = 0.5
    max_continuations: Annotated[int, Field(alias="LONGHAND_MAX_CONTINUATIONS", ge=0, le=1000)] = 8
    section_concurrency: Annotated[Count, Field(alias="LONGHAND_SECTION_CONCURRENCY")] = 4
    checkpoint_seconds: Annotated[Seconds, Field(alias="LONGHAND_CHECKPOINT_SECONDS")] = 2
    drain_seconds: Annotated[float, Field(alias="LONGHAND_DRAIN_SECONDS", ge=0, le=3600)] = 10
    admin_token: Annotated[str | None, AfterValidator(_token_text), Field(alias="LONGHAND_ADMIN_TOKEN", repr=False)] = (
        None
    )
    log_format: Annotated[Literal["console", "json"], BeforeValidator(_lower), Field(alias="LONGHAND_LOG_FORMAT")] = (
        "console"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        BeforeValidator(_lower),
        Field(alias="LONGHAND_LOG_LEVEL"),
    ] = "info"
    metrics_public: Annotated[bool, Field(alias="LONGHAND_METRICS_PUBLIC")] = False
    otlp_endpoint: Annotated[str | None, AfterValidator(_web_address), Field(alias="OTEL_EXPORTER_OTLP_ENDPOINT")] = (
        None
    )
    otlp_traces_endpoint: Annotated[
        str | None, AfterValidator(_web_address), Field(alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    ] = None
    otlp_headers: Annotated[str | None, Field(alias="OTEL_EXPORTER_OTLP_HEADERS", repr=False)] = None
    otlp_traces_headers: Annotated[str | None, Field(alias="OTEL_EXPORTER_OTLP_TRACES_HEADERS", repr=False)] = None

    max_connections: Annotated[Count, Field(alias="LONGHAND_MAX_CONNECTIONS")] = 4000
    max_connections_per_address: Annotated[CountOrOff, Field(alias="LONGHAND_MAX_CONNECTIONS_PER_ADDRESS")] = 1000
    rate_per_token: Annotated[CountOrOff, Field(alias="LONGHAND_RATE_PER_TOKEN")] = 30_000
    rate_per_address: Annotated[CountOrOff, Field(alias="LONGHAND_RATE_PER_ADDRESS")] = 1200
    body_grace_seconds: Annotated[Seconds, Field(alias="LONGHAND_BODY_GRACE_SECONDS")] = 10
    min_body_rate: Annotated[Count, Field(alias="LONGHAND_MIN_BODY_RATE")] = 1000
    trusted_proxies: Annotated[Words, AfterValidator(check_proxies), Field(alias="LONGHAND_TRUSTED_PROXIES")] = ()
    proxy_header: Annotated[Literal["x-forwarded", "forwarded"], Field(alias="LONGHAND_PROXY_HEADER")] = "x-forwarded"
    allowed_hosts: Annotated[Words, AfterValidator(check_hosts), Field(alias="LONGHAND_ALLOWED_HOSTS")] = ()
    cors_origins: Annotated[Words, AfterValidator(check_origins), Field(alias="LONGHAND_CORS_ORIGINS")] = ()

    @model_validator(mode="after")
    def _allow_the_default_model(self) -> Self:
        if self.offline:
            object.__setattr__(self, "model", OFFLINE_MODEL)
            object.__setattr__(self, "models", (OFFLINE_MODEL,))
        elif self.model not in self.models:
            object.__setattr__(self, "models", (self.model, *self.models))
        return self

    @property
    def offline(self) -> bool:
        """Whether the built-in writer serves instead of Claude: there is neither a key nor an address."""
        return self.api_key is None and self.base_url is None

    @property
    def traces_endpoint(self) -> str | None:
        """Where spans are sent; None: nowhere."""
        base = self.otlp_endpoint
        return self.otlp_traces_endpoint or (base and f"{base}/v1/traces")

    @property
    def secrets(self) -> Iterator[str]:
        """Every value that must not be written down: each setting that does not show, and each header in one."""
        for name, field in type(self).model_fields.items():
            value = None if field.repr else getattr(self, name)
            if isinstance(value, str):
                yield value
                yield from (part.partition("=")[2].strip() for part in value.split(",") if "headers" in name)


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Make the settings from a mapping such as `os.environ`. An empty variable counts as not set.

    Raises SettingsError with one line that names the variable, the fault and an example.
    """
    given = {name: value.strip() for name, value in environment.items() if value.strip()}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(fault["loc"][0])
        raise SettingsError(f"{name}: {_sentence(fault['msg'])} Example: {name}={_example(name)}") from None


def _sentence(message: str) -> str:
    text = message.removeprefix("Value error, ")
    first = text[0] if text[1].isupper() else text[0].lower()  # "URL" stays as it is
    return first + text[1:].rstrip(".") + "."


def _example(name: str) -> str:
    if name in EXAMPLES:
        return EXAMPLES[name]
    field = next(field for field in Settings.model_fields.values() if field.alias == name)
    return str(field.default)
