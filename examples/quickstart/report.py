"""The page of a quickstart: what went in, what came out, how it was learned. One file, no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from digits import WORDS, Row
from evaluation import Line, Predictions, kept_by
from fourm_codecs.base import Codec
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.pictures.curves import Series, bar_chart, line_chart
from fourm_runtime.pictures.mask_page import HOW_TO_READ, draw_sample_masks
from fourm_runtime.pictures.mask_plan import picture_masks
from fourm_runtime.pictures.page import (
    Figure,
    Gallery,
    GalleryRow,
    Page,
    Png,
    Section,
    Stack,
    Table,
    Text,
    Tile,
    write_page,
)
from fourm_runtime.pictures.raster import png_of
from fourm_runtime.pictures.values import draw_value
from fourm_runtime.training.metrics import StepMetrics
from fourm_runtime.training.recipe import Recipe
from fourm_schema import Schema
from measures import DARKEST, Image
from steering import Steered

SHOWN_SAMPLES = 4
SHOWN_EPOCHS = 4
WINDOW = 50
"""Steps that one point of a loss curve is the mean of."""

HEADERS = ("given", "predicted", "measure", "model", "codec or real", "blind guess")


@attrs.frozen(eq=False)
class Report:
    """All that the page shows.

    Attributes:
        schema, recipe: what the data is, and how the model was trained.
        held: the held-out dataset, for the masks.
        rows: its samples.
        codecs: modality -> codec.
        metrics: of the run, step by step.
        predictions: what the model makes of the held-out samples.
        steered: digits drawn with an amount of ink asked for, by guidance.
        seconds: what each stage took.
    """

    schema: Schema
    recipe: Recipe
    held: Dataset
    rows: Sequence[Row]
    codecs: Mapping[str, Codec]
    metrics: Sequence[StepMetrics]
    predictions: Predictions
    steered: Sequence[Steered]
    seconds: Mapping[str, float]


def write_report(report: Report, path: Path) -> None:
    """Write the page."""
    found = report.predictions
    summary = (
        f"One model of {len(report.schema.modalities)} modalities, trained for {len(report.metrics):,} steps "
        f"on a CPU, and {len(report.rows)} digits that it has never seen."
    )
    sections = [
        _figures(found, report.steered, report.seconds),
        _drawn(found),
        _steered(report.steered),
        _samples(report),
        _losses(report.metrics),
        _codebook(report),
        _masks(report),
    ]
    write_page(Page("Quickstart: handwritten digits", sections, summary), path)


def rows_of(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """The table's rows."""
    return [(each.given, each.predicted, each.measure, each.model, each.bound, each.guess) for each in lines]


def steering_rows(steered: Sequence[Steered]) -> list[tuple[str, ...]]:
    """Correlation and digits, by guidance."""
    return [(f"{one.guidance:g}", f"{one.correlation:.2f}", f"{100 * one.right:.1f} %") for one in steered]


STEERING_HEADERS = ("guidance", "rank correlation of asked and drawn ink", "right digit")


def _figures(found: Predictions, steered: Sequence[Steered], seconds: Mapping[str, float]) -> Section:
    return Section(
        "Figures",
        [
            Table(HEADERS, rows_of(found.lines), "Held-out digits"),
            Text(
                "The last columns say what to compare with: the truth after its codec's round trip (or, for "
                "drawings, real images), and the best guess that sees nothing."
            ),
            Table(STEERING_HEADERS, steering_rows(steered), "Caption and an amount of ink -> image"),
            Text(f"{found.valid} of {found.sets} generated sets and records are valid."),
            Table(("stage", "seconds"), [(stage, round(took, 1)) for stage, took in seconds.items()], "Time"),
        ],
    )


def _samples(report: Report) -> Section:
    rows = []
    for number in range(min(SHOWN_SAMPLES, len(report.rows))):
        sample, made = report.rows[number], report.predictions.of_images[number]
        backdrop = _backdrop(np.asarray(sample["digit"]))
        tiles = []
        for name, entry in report.schema.modalities.items():
            blocks = [draw_value(entry, _one(sample[name]), name, backdrop)]
            if name != "digit":
                blocks += [Text("predicted:", "muted"), draw_value(entry, made[name].value, name, backdrop)]
            tiles.append(Tile(Stack(blocks), f"{name}, given" if name == "digit" else name))
        rows.append(GalleryRow(tiles, str(sample["id"])))
    text = Text(
        "From the pixels of a held-out digit, every other modality: the truth, and below it the prediction."
    )
    return Section("Predictions for every target", [text, Gallery(rows, tile_px=170)])


def _backdrop(image: Image) -> Png:
    """A digit with half a cell of paper around it: what the boxes of parts, from -0.5 to 8.5, lie on."""
    fine = np.pad(image.repeat(2, axis=0).repeat(2, axis=1), 1)
    return png_of((fine.astype(np.uint16) * 255 // DARKEST).astype(np.uint8), "the digit")


def _one(value: object) -> object:
    """A value, or the first of several texts."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], str) else value


def picture(image: Image, alt: str, side: int = 36) -> Png:
    """A digit in dark ink on white."""
    return png_of((255 - image.astype(np.uint16) * 255 // DARKEST).astype(np.uint8), alt, least_side=side)


def _drawn(found: Predictions) -> Section:
    rows = [
        GalleryRow([Tile(picture(image, f"a drawn {word}")) for image in draws], f"the digit {word}")
        for word, draws in zip(WORDS, found.drawn, strict=True)
    ]
    return Section("Drawn from captions", [Gallery(rows, tile_px=40)])


def _steered(steered: Sequence[Steered]) -> Section:
    first = steered[-1]
    rows = [
        GalleryRow(
            [
                Tile(picture(level[0], f"{word} with ink {ink:.2f}"), f"{ink:.2f}")
                for ink, level in zip(first.levels, levels, strict=True)
            ],
            word,
        )
        for word, levels in zip(WORDS, first.images, strict=True)
    ]
    curves = [Series("asked", first.levels, first.levels)] + [
        Series(f"drawn, guidance {one.guidance:g}", one.levels, one.mean_ink()) for one in steered
    ]
    chart = line_chart(curves, "mean ink by ink asked for", x_label="ink asked for", y_label="mean ink")
    text = Text(
        "A caption names the digit, a record with nothing but its ink says how dark: the model completes the "
        f"record, then draws. Shown with guidance {first.guidance:g}; below each picture, the ink asked for."
    )
    return Section("Steered by the record", [text, Gallery(rows, tile_px=40), Figure(chart)])


def _losses(metrics: Sequence[StepMetrics]) -> Section:
    total = _smooth("all", [(one.step, one.loss) for one in metrics])
    names = sorted({name for one in metrics for name in one.losses})
    streams = [
        _smooth(name, [(one.step, one.losses[name]) for one in metrics if name in one.losses])
        for name in names
    ]
    figures = [
        Figure(line_chart([total], "training loss by step", x_label="step", y_label="nats per token"), "All"),
        Figure(
            line_chart(
                streams, "training loss by stream", x_label="step", y_label="nats per token", log_y=True
            ),
            "Stream by stream",
        ),
    ]
    return Section("Loss", figures)


def _smooth(name: str, points: Sequence[tuple[int, float]]) -> Series:
    windows = [points[start : start + WINDOW] for start in range(0, len(points), WINDOW)]
    xs, ys = zip(*(np.mean(window, axis=0).tolist() for window in windows), strict=True)
    return Series(name, xs, ys)


def _codebook(report: Report) -> Section:
    codec, images = report.codecs["codes"], [row["codes"] for row in report.rows]
    counts = np.bincount(codec.encode(images).ids, minlength=codec.vocab_size)
    used = int((counts > 0).sum())
    chart = bar_chart(
        np.sort(counts)[::-1].tolist(), "how often each id occurs, the commonest first",
        x_label="ids, the commonest first", y_label="times",
    )  # fmt: skip
    shown = images[:12]
    rows = [
        GalleryRow([Tile(picture(np.asarray(one), "an original", 48)) for one in shown], "originals"),
        GalleryRow(
            [Tile(picture(_levels(one), "the same after the codec", 48)) for one in kept_by(codec, shown)],
            "after encoding and decoding",
        ),
    ]
    text = Text(
        f"{used} of {codec.vocab_size} ids of the learned codec occur in {len(images)} held-out digits "
        f"({100 * used / codec.vocab_size:.0f} %). {codec.law.describe()}"
    )
    return Section("Codebook", [text, Figure(chart), Gallery(rows, tile_px=52)])


def _levels(value: object) -> Image:
    return np.clip(np.rint(np.asarray(value, np.float64)), 0, DARKEST).astype(np.uint8).reshape(8, 8)


def _masks(report: Report) -> Section:
    masks = draw_sample_masks(report.held, report.recipe, 0, SHOWN_EPOCHS)
    titles = [f"epoch {epoch}" for epoch in range(SHOWN_EPOCHS)]
    return Section("Masks", [Text(HOW_TO_READ), picture_masks(masks.draws, titles, masks.mixture)])
