"""The application that commands register with, and what it says without one."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup


class _Commands(TyperGroup):
    """The commands; Ctrl-C in one leaves it as `typer.Abort`.

    typer makes a mere exit code of it, which `main` could not tell from one that a command chose.
    """

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None


app = typer.Typer(
    name="assay",
    cls=_Commands,
    help="Reward models you can trust: from raw preference rows to a trained, evaluated model.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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
