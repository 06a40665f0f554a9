"""The page of one sample's masks: what a recipe shows and asks of it, epoch after epoch."""

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.reader import Reader
from fourm_runtime.data.samples import Sample, read_samples
from fourm_runtime.masking.mask import Masker
from fourm_runtime.masking.mixture import Mixture
from fourm_runtime.pictures.mask_draw import MaskDraw, mask_draws
from fourm_runtime.pictures.mask_plan import mixture_table, picture_masks
from fourm_runtime.pictures.page import Page, Section, Text
from fourm_runtime.pictures.sheet import sample_gallery
from fourm_runtime.training.recipe import Recipe

HOW_TO_READ = (
    "The model is shown the blue tokens and has to predict the orange ones; the grey ones take no part "
    "this time. Each column is one epoch: the same sample, masked anew. Each row is a stream, one way "
    "to see a modality: a square is a token, of an image where it lies in the image.\n\n"
    "First a component of the recipe is drawn, which says what may be shown and asked; then how many "
    "tokens each stream gets of the two budgets; then which. Concentrations below 1 give nearly all to "
    "a few streams, those above 1 some to each. Below each picture stand the tokens that the encoder "
    "sees and those that the decoder predicts, each of what was drawn for the stream. It can use fewer: "
    "a cell is shown or predicted, not both, a sequence has only the tokens it has, and the sentinel "
    "that begins what is predicted counts, but is given.\n\n"
    "The sentinels of a sequence are numbered: one stands where a hidden run was, and opens it in what "
    "is predicted; one more ends that."
)


@attrs.frozen(eq=False)
class SampleMasks:
    """The masks that a recipe draws for one sample.

    Attributes:
        sample: the sample.
        mixture: what the recipe comes to.
        seed: of the draws.
        draws: by epoch, from 0.
    """

    sample: Sample
    mixture: Mixture
    seed: int
    draws: Sequence[MaskDraw]

    def record(self) -> dict[str, object]:
        """What was drawn, as a plain record."""
        return {
            "row": self.sample.row,
            "id": self.sample.name,
            "seed": self.seed,
            "draws": [{"epoch": epoch, **_record(draw)} for epoch, draw in enumerate(self.draws)],
        }


def draw_sample_masks(
    dataset: Dataset, recipe: Recipe, row: int, draws: int, seed: int | None = None
) -> SampleMasks:
    """Draw the masks of one sample as a run would, in its first epochs.

    Args:
        dataset: encoded samples.
        recipe: its masks, budget and seed count.
        row: which sample.
        draws: how many epochs.
        seed: in place of the recipe's.

    Raises:
        DataError: if there is no such row, or its tokens are missing or stale.
        PlanError: if the recipe's masks do not fit the dataset's streams.
    """
    (sample,) = read_samples(dataset, [row])
    mixture = recipe.mixture(dataset.plan)
    seed = recipe.seed if seed is None else seed
    masker = Masker(dataset.plan, mixture, seed)
    epochs = np.arange(draws)
    with Reader(dataset, dataset.plan) as reader:
        batch = reader.batch(np.full(draws, row), epochs, seed)
    return SampleMasks(sample, mixture, seed, mask_draws(masker, batch, epochs.tolist()))


def mask_page(dataset: Dataset, masks: SampleMasks) -> Page:
    """Draw the masks of one sample: `fourm mask show` writes this page."""
    sample, titles = masks.sample, [f"epoch {epoch}" for epoch in range(len(masks.draws))]
    return Page(
        f"Masks of {sample.name}",
        [
            Section("Masks", [Text(HOW_TO_READ), picture_masks(masks.draws, titles, masks.mixture)]),
            Section("Mixture", [mixture_table(masks.mixture)]),
            Section("Sample", [sample_gallery(dataset.schema, dataset.plan, [sample])]),
        ],
        summary=f"Row {sample.row} of {dataset.path.name}, seed {masks.seed}.",
    )


def _record(draw: MaskDraw) -> dict[str, object]:
    streams: Mapping[str, object] = {
        name: {"visible": each.input_tokens, "predicted": each.target_tokens, "tokens": each.length}
        for name, each in draw.streams.items()
        if each.present
    }
    return {
        "component": draw.component,
        "visible": draw.input_tokens,
        "visible_budget": draw.input_budget,
        "predicted": draw.target_tokens,
        "predicted_budget": draw.target_budget,
        "streams": streams,
    }
