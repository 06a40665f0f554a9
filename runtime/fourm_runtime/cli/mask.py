"""`fourm mask ...`: look at what a recipe shows and asks."""

from pathlib import Path
from typing import Annotated

import typer

from fourm_runtime.cli.data_place import StorageOption, open_dataset
from fourm_runtime.cli.show import show_json

group = typer.Typer(no_args_is_help=True, help="Look at masks before a run uses them.")


@group.command()
def show(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Samples, encoded.")],
    recipe: Annotated[
        Path, typer.Option("--recipe", metavar="FILE", help="The YAML file that says how to train.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The HTML file to write.")],
    sample: Annotated[str, typer.Option("--sample", metavar="ID", help="Id of a sample, or its row.")] = "0",
    draws: Annotated[
        int, typer.Option("--draws", metavar="N", min=1, max=64, help="How many epochs to draw.")
    ] = 8,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="SEED", help="In place of the recipe's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Change a field of the recipe; repeat it for more."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was drawn as JSON on stdout.")] = False,
    storage: StorageOption = None,
) -> None:
    """Draw one sample's masks, epoch after epoch, as a run would, into one HTML page.

    The page shows for each token whether it is visible, to be predicted or neither, the budgets and the
    component of the mixture that were drawn, and the sample itself.

    Example:
        fourm mask show digits.lance --recipe train.yaml --sample digit-0007 --to mask.html
    """
    from fourm_runtime.data.samples import rows_of
    from fourm_runtime.pictures.mask_page import draw_sample_masks, mask_page
    from fourm_runtime.pictures.page import write_page
    from fourm_runtime.training.recipe import load_recipe

    opened, how = open_dataset(dataset, storage), load_recipe(recipe, settings or ())
    (row,) = rows_of(opened, [sample])
    masks = draw_sample_masks(opened, how, row, draws, seed)
    write_page(mask_page(opened, masks), to)
    if as_json:
        show_json({"page": str(to), **masks.record()})
    else:
        print(f"{to}: {draws} masks of {masks.sample.name}, seed {masks.seed}")
