"""`fourm evaluate`: how well a run predicts samples that it was not trained on."""

from pathlib import Path
from typing import Annotated

import typer

from fourm_runtime.cli.data_place import StorageOption, place_of
from fourm_runtime.cli.show import show_json, show_table


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of one checkpoint.")],
    data: Annotated[Path, typer.Option("--data", metavar="DATASET", help="Held-out samples, encoded.")],
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="FILE", help="Masks and budgets to use. Default: the run's own."),
    ] = None,
    averaged: Annotated[
        bool, typer.Option("--averaged", help="Use the average of the weights (optimizer.ema).")
    ] = False,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Use only the first N samples. Default: all.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda or cuda:N. Default: a GPU where there is one.")
    ] = None,
    storage: StorageOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout in place of a table.")
    ] = False,
) -> None:
    """Predict masked tokens of held-out samples: loss and accuracy of each stream.

    Each sample has one fixed mask, so the numbers of two runs can be compared. The baseline always answers
    with how often each id occurs at that position: a model below it has used what it was shown.

    Example:
        fourm evaluate runs/digits --data held-out.lance --json
    """
    from fourm_runtime.training.evaluate import evaluate_checkpoint
    from fourm_runtime.training.recipe import load_recipe

    scores = evaluate_checkpoint(
        run,
        place_of(data, storage),
        recipe=None if recipe is None else load_recipe(recipe),
        averaged=averaged,
        samples=samples,
        device=device,
    )
    if as_json:
        show_json(scores.to_json())
        return
    show_table(
        f"{scores.samples:,} samples, loss {scores.loss:.4f}, baseline {scores.baseline_loss:.4f}",
        ("stream", "loss", "baseline", "accuracy", "targets"),
        (
            (name, f"{s.loss:.4f}", f"{s.baseline_loss:.4f}", f"{s.accuracy:.1%}", s.targets)
            for name, s in scores.streams.items()
        ),
    )
