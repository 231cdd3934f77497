"""`assay serve`: rewards over HTTP."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.app import app
from assay.cli.options import Base, Device, DType, Engine, Template
from assay.errors import ConfigError
from assay.serve.limits import DEFAULTS, Limits
from assay.serve.policy_templates import TEMPLATES

if TYPE_CHECKING:
    from assay.serve.app import ServeSettings
    from assay.serve.running import Listening

_NAMED = re.compile(r"([A-Za-z0-9._-]+)=(.+)", re.DOTALL)


Named = Annotated[list[str], typer.Option(help="A model as elsewhere, or NAME=MODEL; repeat.")]
ServedName = Annotated[
    str | None, typer.Option(help="Name of the model in requests, where there is one model.")
]
Host = Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
Longest = Annotated[
    int | None,
    typer.Option(min=2, help="Tokens of prompt and response; by default the model's context."),
]
OverLength = Annotated[
    Literal["error", "cut"],
    typer.Option(help="Refuse what is longer (422), or leave out the prompt's beginning."),
]
InputTemplate = Annotated[
    str,
    typer.Option(
        help="Template of the policy that texts come from: "
        f"{', '.join(TEMPLATES)}; none reads them as they stand."
    ),
]
Foreign = Annotated[
    Literal["flag", "refuse"],
    typer.Option(help="Texts with special tokens of other models: say so, or answer 422."),
]
InContent = Annotated[
    Literal["error", "text", "special"],
    typer.Option(help="Special tokens of the model written out inside messages."),
]
Protocols = Annotated[
    list[str] | None,
    typer.Option(help="Serve this protocol only; repeat for more. By default all."),
]
KeyFile = Annotated[Path | None, typer.Option(help="One key a line; then every request needs one.")]
Certificate = Annotated[Path | None, typer.Option(help="PEM file of the certificate; then TLS.")]
CertificateKey = Annotated[Path | None, typer.Option(help="PEM file of its key.")]
BodyBytes = Annotated[int, typer.Option(min=1, help="Of one request.")]
RequestTokens = Annotated[
    int, typer.Option(min=1, help="Of one request, prompts counted with each response.")
]
Responses = Annotated[int, typer.Option(min=1, help="Of one request.")]
QueueTokens = Annotated[int, typer.Option(min=1, help="That may wait for a model; beyond it, 429.")]
Deadline = Annotated[float, typer.Option(min=0.001, help="Seconds after which a request gets 503.")]
DrainDelay = Annotated[
    float, typer.Option(min=0, help="Seconds between SIGTERM and the closed port.")
]


@app.command()
def serve(
    model: Named,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    served_model_name: ServedName = None,
    base: Base = None,
    template: Template = None,
    device: Device = "auto",
    dtype: DType = "auto",
    engine: Engine = "auto",
    max_length: Longest = None,
    over_length: OverLength = "error",
    input_template: InputTemplate = "none",
    foreign_special_tokens: Foreign = "flag",
    special_tokens_in_content: InContent = "error",
    protocol: Protocols = None,
    api_key_file: KeyFile = None,
    tls_cert: Certificate = None,
    tls_key: CertificateKey = None,
    max_body_bytes: BodyBytes = DEFAULTS.max_body_bytes,
    max_request_tokens: RequestTokens = DEFAULTS.max_request_tokens,
    max_responses: Responses = DEFAULTS.max_responses,
    max_queue_tokens: QueueTokens = DEFAULTS.max_queue_tokens,
    deadline: Deadline = DEFAULTS.deadline,
    drain_delay: DrainDelay = 0.5,
) -> None:
    """Serve rewards over HTTP.

    Its own /v1/reward, and what vLLM, SGLang, OpenRLHF, align-anything and LLaMA-Factory serve.
    SIGTERM: every request that was taken is answered, exit code 0.
    """
    _check_installed()
    from assay.serve.app import ServeSettings
    from assay.serve.auth import Keys
    from assay.serve.reading import ReadingOptions
    from assay.serve.running import Listening

    listening = Listening(host, port, tls_cert, tls_key, drain_delay)
    limits = Limits(
        max_body_bytes=max_body_bytes,
        max_request_tokens=max_request_tokens,
        max_responses=max_responses,
        max_queue_tokens=max_queue_tokens,
        max_length=max_length,
        over_length=over_length,
        deadline=deadline,
    )
    settings = ServeSettings(
        limits,
        ReadingOptions(input_template, special_tokens_in_content, foreign_special_tokens),
        None if api_key_file is None else Keys.read(api_key_file),
        tuple(protocol or ()),
    )
    loading: dict[str, Any] = {"base": base, "template": template, "device": device}
    names = named_models(model, served_model_name)
    _serve(names, loading | {"dtype": dtype, "engine": engine}, settings, listening)


def _check_installed() -> None:
    try:
        for name in ("fastapi", "uvicorn", "prometheus_client"):
            import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`assay serve` needs {error.name}", mend="run: pip install 'assay[serve]'"
        ) from None


def _serve(
    names: dict[str, str],
    loading: dict[str, Any],
    settings: ServeSettings,
    listening: Listening,
) -> None:
    """Take the port, load the models, serve until a signal."""
    from assay.model.loading import load_reward_model
    from assay.serve.app import create_app
    from assay.serve.running import bound, run

    with bound(listening) as listener:
        models = {name: load_reward_model(path, **loading) for name, path in names.items()}
        served = create_app(models, settings)
        for name, loaded in models.items():
            template = loaded.renderer.template
            typer.echo(
                f"model {name}: template {template.name} (hash {template.hash}), "
                f"engine {loaded.engine.name}"
            )
        run(served, listening, listener, lambda url: typer.echo(f"serving at {url}"))
    typer.echo("all requests answered")


def named_models(given: list[str], served_name: str | None) -> dict[str, str]:
    """What `--model` names, by the names under which it is served.

    Raises:
        ConfigError: two have one name, or one name is given for several.
    """
    found: dict[str, str] = {}
    for value in given:
        match = None if Path(value).exists() else _NAMED.fullmatch(value)
        name, model = (match[1], match[2]) if match else (value, value)
        if name in found:
            raise ConfigError(f"two models are named '{name}'", where="--model", mend="NAME=MODEL")
        found[name] = model
    if served_name is None:
        return found
    if len(found) > 1:
        raise ConfigError(
            "one name for several models", where="--served-model-name", mend="--model NAME=MODEL"
        )
    return {served_name: next(iter(found.values()))}
