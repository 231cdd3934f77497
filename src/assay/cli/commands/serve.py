"""`assay serve`: rewards over HTTP."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assay.cli.app import app
from assay.cli.options import (
    Backend,
    Base,
    Device,
    DType,
    Engine,
    Precision,
    Template,
    VllmUrl,
    check_backend,
    options_of,
)
from assay.errors import ConfigError
from assay.notices import notice
from assay.serve.limits import DEFAULTS, Limits
from assay.serve.policy_templates import TEMPLATES

if TYPE_CHECKING:
    from assay.model.choice import ModelChoice
    from assay.serve.app import ServeSettings
    from assay.serve.monitor.baseline import Baseline
    from assay.serve.monitor.watching import MonitorSettings
    from assay.serve.running import Listening

_NAMED = re.compile(r"([A-Za-z0-9._-]+)=(.+)", re.DOTALL)
_INSIDE_A_RUN = "model"

Named = Annotated[list[str], typer.Option(help="A model as elsewhere, or NAME=MODEL; repeat.")]
ServedName = Annotated[
    str | None,
    typer.Option(
        help="Name of the model in requests, where there is one model; by default its directory's."
    ),
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
    typer.Option(
        help="Texts with special tokens of other models, or that do not begin as the model's "
        "template does: say so, or answer 422."
    ),
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
CacheBytes = Annotated[
    int,
    typer.Option(min=0, help="Keys and values of prompts that a model remembers; 0 for none."),
]
MonitorLog = Annotated[
    Path | None,
    typer.Option(help="Log what each step of a training run gets, a line a step, without texts."),
]
ReferenceScores = Annotated[
    list[str] | None,
    typer.Option(
        help="What the monitor compares with: a file of assay score or assay eval, or NAME=FILE; "
        "repeat. By default what assay score --write-reference left with the model."
    ),
]
NoPlayground = Annotated[bool, typer.Option("--no-playground", help="No page for people at /.")]
Deadline = Annotated[float, typer.Option(min=0.001, help="Seconds after which a request gets 503.")]
DrainDelay = Annotated[
    float, typer.Option(min=0, help="Seconds between SIGTERM and the closed port.")
]


@app.command()
def serve(
    context: typer.Context,
    model: Named,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    served_model_name: ServedName = None,
    base: Base = None,
    template: Template = None,
    device: Device = "auto",
    dtype: DType = "auto",
    precision: Precision = "full",
    engine: Engine = "auto",
    backend: Backend = "assay",
    vllm_url: VllmUrl = None,
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
    prompt_cache_bytes: CacheBytes = DEFAULTS.prompt_cache_bytes,
    deadline: Deadline = DEFAULTS.deadline,
    drain_delay: DrainDelay = 0.5,
    monitor_log: MonitorLog = None,
    reference_scores: ReferenceScores = None,
    no_playground: NoPlayground = False,
) -> None:
    """Serve rewards over HTTP.

    Its own /v1/reward, and what vLLM, SGLang, OpenRLHF, align-anything and LLaMA-Factory serve.
    SIGTERM: every request that was taken is answered, exit code 0.
    """
    check_backend(context)
    _check_installed()
    from assay.model.choice import ModelChoice
    from assay.serve.app import ServeSettings
    from assay.serve.auth import Keys
    from assay.serve.monitor.watching import MonitorSettings
    from assay.serve.reading import ReadingOptions
    from assay.serve.running import Listening

    listening = Listening(host, port, tls_cert, tls_key, drain_delay)
    limits = options_of(context, Limits)
    names = named_models(model, served_model_name)
    settings = ServeSettings(
        limits,
        ReadingOptions(input_template, special_tokens_in_content, foreign_special_tokens),
        None if api_key_file is None else Keys.read(api_key_file),
        tuple(protocol or ()),
        MonitorSettings(monitor_log, _baselines(reference_scores, names)),
        not no_playground,
    )
    choice = options_of(context, ModelChoice)
    _serve(names, choice, settings, listening)


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
    choice: ModelChoice,
    settings: ServeSettings,
    listening: Listening,
) -> None:
    """Take the port, load the models, serve until a signal."""
    from assay.model.vllm.either import engine_of
    from assay.serve.app import create_app
    from assay.serve.running import bound, run

    with bound(listening) as listener:
        models = {name: choice.load(path) for name, path in names.items()}
        known = _with_own(settings.monitor, names)
        served = create_app(models, replace(settings, monitor=known))
        for name, loaded in models.items():
            template = loaded.renderer.template
            typer.echo(
                f"model {name}: template {template.name} (hash {template.hash}), "
                f"engine {engine_of(loaded)}"
            )
        run(served, listening, listener, lambda url: typer.echo(f"serving at {url}"))
    typer.echo("all requests answered")


def _baselines(given: list[str] | None, names: dict[str, str]) -> dict[str, Baseline]:
    """What `--reference-scores` names, by model.

    Raises:
        ConfigError: it names no model, or one twice.
        DataError: a file holds no rewards.
    """
    from assay.serve.monitor.baseline import Baseline

    found: dict[str, Baseline] = {}
    for value in given or ():
        match = None if Path(value).exists() else _NAMED.fullmatch(value)
        name, path = (match[1], match[2]) if match else (next(iter(names)), value)
        if name not in names or name in found or (not match and len(names) > 1):
            raise ConfigError(
                f"'{value}' is of no model, or of one that has its scores",
                where="--reference-scores",
                mend=f"NAME=FILE, once for each of: {', '.join(names)}",
            )
        found[name] = Baseline.of_file(Path(path))
    return found


def _with_own(monitor: MonitorSettings, names: dict[str, str]) -> MonitorSettings:
    """The same, with what models have in their own directories; says where one has nothing."""
    from assay.model.locate import locate_model
    from assay.serve.monitor.baseline import baseline_of

    found = dict(monitor.baselines)
    for name, path in names.items():
        own = found.get(name) or baseline_of(locate_model(path, needs_weights=False).path)
        if own is not None:
            found[name] = own
        elif monitor.log is not None:
            notice(
                f"model {name} has no reference rewards, so that its monitor knows neither range "
                "nor distance: give --reference-scores, or score typical rows with assay score "
                "--write-reference"
            )
    return replace(monitor, baselines=found)


def named_models(given: list[str], served_name: str | None) -> dict[str, str]:
    """What `--model` names, by the names under which it is served.

    A directory is served under its own name, not its path: clients need not know where it lies. A
    `model` inside a run is called as the run.

    Raises:
        ConfigError: two have one name, or one name is given for several.
    """
    found: dict[str, str] = {}
    for value in given:
        match = None if Path(value).exists() else _NAMED.fullmatch(value)
        name, model = (match[1], match[2]) if match else (_own_name(value), value)
        if name in found:
            raise ConfigError(
                f"two models are named '{name}'", where="--model", mend="write NAME=MODEL"
            )
        found[name] = model
    if served_name is None:
        return found
    if len(found) > 1:
        raise ConfigError(
            "one name for several models", where="--served-model-name", mend="--model NAME=MODEL"
        )
    return {served_name: next(iter(found.values()))}


def _own_name(model: str) -> str:
    """Of a directory its name; of anything else, as a hub id, what it is called already."""
    if not Path(model).is_dir():
        return model
    place = Path(model).absolute()
    if ".." in place.parts:
        place = place.resolve()
    inside = place.name == _INSIDE_A_RUN and place.parent.name
    return place.parent.name if inside else place.name or model
