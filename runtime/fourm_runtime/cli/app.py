"""`fourm`: one verb per thing a user does, each a thin face on the function of the same name.

A verb imports what it needs inside its body, so that `fourm explain` starts without torch. A FourmError
becomes a panel on stderr and exit status 2; `--debug` shows where it came from.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fourm_runtime.cli import (
    codec,
    data,
    data_upkeep,
    evaluate,
    generate,
    init,
    laws,
    mask,
    released,
    schema,
    train,
)
from fourm_runtime.cli.show import show_error
from fourm_schema.errors import FourmError

EXIT_FAULT = 2


class FourmGroup(TyperGroup):
    """The root of the verbs: what turns an error of the user's into a panel."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FourmError as error:
            if ctx.params.get("debug"):
                raise
            show_error(error)
            raise typer.Exit(EXIT_FAULT) from None


app = typer.Typer(
    cls=FourmGroup,
    name="fourm",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback is for us, and Python's own is the one we can read
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def fourm(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Declare modalities in YAML; train one any-to-any model over all of them."""


app.command()(init.init)
app.command()(schema.validate)
app.command()(schema.explain)
app.command()(schema.plan)
app.command()(schema.schema)
app.command("test")(laws.hold_to_laws)
data.group.command()(data_upkeep.compact)
data.group.command()(data_upkeep.clean)
app.add_typer(data.group, name="data")
app.add_typer(codec.group, name="codec")
app.add_typer(mask.group, name="mask")
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(generate.generate)
app.add_typer(released.imports, name="import")
app.add_typer(released.exports, name="export")


def main() -> None:
    """Run the command line (the `fourm` script)."""
    app()
