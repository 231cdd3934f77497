"""The command line: parse, call, print. Heavy imports happen inside the command that needs them."""

from __future__ import annotations

import io
import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from typer.exceptions import TyperException

from assay.allocator import keep_freed_memory
from assay.config import EngineChoice
from assay.errors import AssayError, ConfigError, OutputError
from assay.notices import show_on_stderr
from assay.recipe import RecipeField, load_recipe, recipe_fields, source_fields

if TYPE_CHECKING:
    from assay.train.loop import TrainResult

OnBadRow = Literal["error", "skip"]

app = typer.Typer(
    name="assay",
    help="Reward models you can trust: from raw preference rows to a trained, evaluated model.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Model = Annotated[
    str,
    typer.Option(
        help="A run, its model/, a checkpoints directory, one checkpoint, an adapter, a "
        "directory, a pulled name, a hub id, or modelscope:org/name."
    ),
]
Input = Annotated[
    str, typer.Option(help="Rows: .jsonl or .json of any known format, sample:NAME, - for stdin.")
]
Base = Annotated[str | None, typer.Option(help="Base model of an adapter, if it moved.")]
Template = Annotated[
    str | None,
    typer.Option(help="Read with another template: auto, a registered name, FILE.jinja."),
]
Format = Annotated[str, typer.Option(help="Format of the rows, or auto.")]
Label = Annotated[str | None, typer.Option(help="Which label to read, where rows carry several.")]
Split = Annotated[str | None, typer.Option(help="Split of a sample.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Read so many rows, then stop.")]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")]
DType = Annotated[
    str,
    typer.Option(
        help="auto (float32 on a CPU, else as saved), float32, bfloat16, float16, float64."
    ),
]
Engine = Annotated[
    EngineChoice,
    typer.Option(help="How rewards are computed: auto takes the fastest right for the model."),
]
BadRows = Annotated[
    OnBadRow, typer.Option(help="Stop and list the bad rows, or count and write them aside.")
]
MaxLength = Annotated[
    int | None, typer.Option(min=2, help="Tokens of prompt and response together.")
]


def _recipe_help() -> str:
    lines = ["\b", "Recipe fields: YAML sections, or flags --section.field VALUE."]
    for field in recipe_fields():
        lines += _field_help(field, "--")
    lines.append("Fields of each file in data.train and data.eval (YAML only):")
    for field in source_fields():
        lines += _field_help(field, "")
    return "\n".join(lines)


def _field_help(field: RecipeField, dashes: str) -> list[str]:
    default = field.default if field.default == "required" else f"default: {field.default}"
    indent = " " * 6
    return [
        f"{dashes}{field.path}  {field.type}  ({default})",
        *textwrap.wrap(field.description, 72, initial_indent=indent, subsequent_indent=indent),
    ]


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="smollm2-135m-instruct, org/name, modelscope:...")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    output: Annotated[Path | None, typer.Option(help="Copy the model here.")] = None,
) -> None:
    """Fetch a model and say where it lies."""
    from assay.model.pull import pull as fetch

    pulled = fetch(model, revision=revision, output=output)
    typer.echo(f"path: {pulled.path}")
    typer.echo(f"template: {pulled.template or 'none'}")
    typer.echo(f"licence: {pulled.licence}")


@app.command()
def render(
    input: Input,
    model: Annotated[str | None, typer.Option(help="Read as this model does.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="A directory with a tokenizer.")] = None,
    template: Template = None,
    format: Format = "auto",
    row: Annotated[int, typer.Option(min=1, help="Which row, counted from 1.")] = 1,
    label: Label = None,
    split: Split = None,
) -> None:
    """Print exactly what the model reads.

    Text, ids, end token, shared prefix and scored token, of one row; needs no weights.
    """
    from assay.data.showing import show_row
    from assay.data.sources import DataSource
    from assay.model.reader import open_reader

    renderer = open_reader(model, tokenizer, template)
    show_row(renderer, DataSource(input, format=format, split=split, label=label), row)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=_recipe_help(),
)
def train(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Argument(help="RECIPE.yaml; or flags alone.")] = None,
    resume: Annotated[
        str | None, typer.Option(help="auto (newest valid checkpoint), or a checkpoint.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the run that is in output_dir.")
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help="The same as --train.engine: auto, tree, packed, padded.")
    ] = None,
) -> None:
    """Train a reward model.

    From a recipe, from flags, or from both: flags win.
    """
    flags = list(context.args)
    if recipe is not None and recipe.startswith("-"):
        flags, recipe = [recipe, *flags], None
    if engine is not None:
        flags += ["--train.engine", engine]
    if resume is not None and overwrite:
        raise ConfigError("--resume and --overwrite contradict each other", mend="give one")
    checked = load_recipe(recipe, flags)

    from assay.train.loop import train as run_training

    result = run_training(checked, resume=resume, overwrite=overwrite)
    _exit_if_stopped(result)
    typer.echo(f"model: {result.run / 'model'}")


def _exit_if_stopped(result: TrainResult) -> None:
    from assay.train.stopping import EXIT_CODES

    if result.stopped_by is not None:
        typer.echo(f"stopped after step {result.step} of {result.num_steps}; go on with:")
        typer.echo(f"  assay train {result.run}/recipe.resolved.yaml --resume auto")
        raise typer.Exit(EXIT_CODES[result.stopped_by])


@app.command()
def eval(
    model: Model,
    input: Input,
    output: Annotated[Path | None, typer.Option(help="Write results.json here.")] = None,
    split: Split = None,
    limit: Limit = None,
    template: Template = None,
    format: Format = "auto",
    label: Label = None,
    all_checkpoints: Annotated[
        bool, typer.Option("--all-checkpoints", help="Evaluate each checkpoint of a run.")
    ] = False,
    base: Base = None,
    device: Device = "auto",
    dtype: DType = "auto",
    engine: Engine = "auto",
    max_length: MaxLength = None,
    over_length: Annotated[
        Literal["drop", "error"],
        typer.Option(help="A response over the length is dropped and counted, or is an error."),
    ] = "drop",
    on_bad_row: BadRows = "error",
) -> None:
    """Evaluate on preference rows.

    Accuracy with its interval, margins, baselines, and every row that was left out.
    """
    from assay.data.sources import DataSource
    from assay.evaluate.command import EvalOptions, evaluate_command

    source = DataSource(input, format=format, split=split, label=label)
    options = EvalOptions(
        output=output,
        limit=limit,
        template=template,
        base=base,
        device=device,
        dtype=dtype,
        max_length=max_length,
        over_length=over_length,
        on_bad_row=on_bad_row,
        engine=engine,
    )
    evaluate_command(model, source, options, all_checkpoints=all_checkpoints)


@app.command()
def score(
    model: Model,
    input: Annotated[
        str | None, typer.Option(help="Rows of any known format, - for stdin.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="JSONL, one line a row.")] = None,
    prompt: Annotated[str | None, typer.Option(help="By hand: the prompt.")] = None,
    response: Annotated[
        list[str] | None, typer.Option("--response", help="By hand: an answer; repeat for more.")
    ] = None,
    transform: Annotated[
        Literal["sigmoid"] | None, typer.Option(help="Add a transformed column beside the raw.")
    ] = None,
    style: Annotated[
        Literal["assay", "messages"],
        typer.Option(help="Where scores stand: under assay, or in the last message."),
    ] = "assay",
    template: Template = None,
    format: Format = "auto",
    label: Label = None,
    split: Split = None,
    limit: Limit = None,
    base: Base = None,
    device: Device = "auto",
    dtype: DType = "auto",
    engine: Engine = "auto",
    max_length: MaxLength = None,
    on_bad_row: BadRows = "error",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Score a file, or answers given by hand."""
    from assay.score.command import score_by_hand, score_to_file
    from assay.score.files import ScoreOptions, check_output

    by_hand = prompt is not None or bool(response)
    if by_hand == (input is not None):
        raise ConfigError(
            "score takes either --input and --output, or --prompt and --response",
            mend="give one of the two",
        )
    if by_hand:
        _check_by_hand(prompt, response)
        _refuse_by_hand(
            {
                "--output": output is not None,
                "--style": style != "assay",
                "--format": format != "auto",
                "--label": label is not None,
                "--split": split is not None,
                "--limit": limit is not None,
                "--on-bad-row": on_bad_row != "error",
                "--overwrite": overwrite,
            }
        )
    if input is not None and output is None:
        raise ConfigError("--output is missing", mend="give --output FILE.jsonl")
    if output is not None:
        check_output(output, overwrite=overwrite)

    from assay.data.sources import DataSource, locate
    from assay.model.loading import load_reward_model

    if input is not None:
        locate(DataSource(input, format=format, split=split, label=label))
    loaded = load_reward_model(
        model, base=base, template=template, device=device, dtype=dtype, engine=engine
    )
    if input is None or output is None:
        assert prompt is not None
        score_by_hand(loaded, prompt, response or [], transform=transform, max_length=max_length)
        return
    options = ScoreOptions(
        style=style,
        transform=transform,
        max_length=max_length,
        on_bad_row=on_bad_row,
        limit=limit,
        overwrite=overwrite,
    )
    source = DataSource(input, format=format, split=split, label=label)
    score_to_file(loaded, model, source, output, options)


def _check_by_hand(prompt: str | None, responses: list[str] | None) -> None:
    if prompt is None or not responses:
        raise ConfigError("by hand takes --prompt and at least one --response", mend="give both")
    for text in [prompt, *responses]:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                "--prompt or --response is not UTF-8 text", mend="give it in UTF-8"
            ) from None


def _refuse_by_hand(given: dict[str, bool]) -> None:
    for flag, is_given in given.items():
        if is_given:
            raise ConfigError(
                f"{flag} is for the rows of a file, not for --prompt and --response",
                mend="leave it out, or give --input",
            )


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="The run directory.")] = Path("runs/demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Train again.")] = False,
) -> None:
    """Train a small model in minutes.

    Pulls a model, trains it on the bundled sample, evaluates it on unseen prompts, scores.
    """
    from assay.demo import run_demo

    if any(output.glob("*")) and not overwrite:
        raise OutputError(
            "is not empty: it holds an earlier demo, or something else",
            where=output,
            mend="run `assay demo --overwrite` to replace an earlier demo, or give --output",
        )
    _exit_if_stopped(run_demo(output, overwrite=overwrite))


@app.callback(invoke_without_command=True)
def _without_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        import assay

        typer.echo(f"assay {assay.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> NoReturn:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    show_on_stderr()
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # A terminal without Chinese shows codes.
    try:
        code = app(standalone_mode=False, prog_name="assay")
        sys.stdout.flush()
        sys.exit(code)
    except AssayError as error:
        _fail(str(error), error.exit_code)
    except TyperException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "assay")
        _fail(f"{error.format_message().rstrip('.')}; see {command} --help", 2)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except BrokenPipeError:
        _give_up_stdout()
        sys.exit(141)
    except OSError as error:
        # What the system refuses where no command foresaw it is still the user's to mend.
        place = error.filename or "stdout or a file that was being written"
        what = f"the operating system refuses: {error.strerror or error}"
        mend = "check the path, its permissions and the free space"
        _fail(f"{place}: {what}; {mend}", 2)


def _fail(text: str, code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        _give_up_stdout()
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(code)


def _give_up_stdout() -> None:
    """Nobody reads it, or it is full: Python must not try again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
