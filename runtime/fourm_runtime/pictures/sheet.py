"""A sheet of samples: every modality of a few rows of a dataset, drawn by its type."""

from collections.abc import Sequence, Sized

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.samples import Sample
from fourm_runtime.pictures.page import Cell, Gallery, GalleryRow, Page, Section, Table, Tile
from fourm_runtime.pictures.values import backdrop_of, draw_value
from fourm_schema.plan import Plan
from fourm_schema.schema import Schema

TILE_PX = 240


def sheet_page(dataset: Dataset, samples: Sequence[Sample]) -> Page:
    """Draw samples of a dataset: `fourm data show` writes this page.

    Args:
        dataset: where they are from; the page says how far it is encoded.
        samples: which, e.g. from `fourm_runtime.data.samples.read_samples`.
    """
    status = dataset.status()
    columns: list[list[Cell]] = [
        [each.stream, each.state, each.encoded_rows, each.codec or "-", each.why or "-"]
        for each in status.streams
    ]
    present: list[list[Cell]] = [[name, entry.kind, status.present[name], entry.description or "-"]
                                 for name, entry in dataset.schema.modalities.items()]  # fmt: skip
    return Page(
        f"Samples of {dataset.path.name}",
        [
            Section("Samples", [sample_gallery(dataset.schema, dataset.plan, samples)]),
            Section(
                "Modalities", [Table(("name", "kind", "samples", "what it is"), present, row_headings=True)]
            ),
            Section(
                "Token columns",
                [Table(("stream", "state", "rows", "codec", "why"), columns, row_headings=True)],
            ),
        ],
        summary=f"{len(samples)} of {status.rows:,} samples, version {status.version}.",
    )


def sample_gallery(schema: Schema, plan: Plan, samples: Sequence[Sample]) -> Gallery:
    """One row of tiles per sample, one tile per modality; boxes are drawn on the sample's picture."""
    rows = []
    for sample in samples:
        backdrop = backdrop_of(schema, sample.values)
        tiles = [
            Tile(draw_value(entry, sample.values[name], name, backdrop), _counted(plan, sample, name))
            for name, entry in schema.modalities.items()
        ]
        rows.append(GalleryRow(tiles, f"{sample.name} (row {sample.row})"))
    return Gallery(rows, tuple(schema.modalities), TILE_PX)


def sample_record(sample: Sample) -> dict[str, object]:
    """What was drawn of a sample, as a plain record."""
    return {
        "row": sample.row,
        "id": sample.name,
        "drawn": [name for name, value in sample.values.items() if value is not None],
        "absent": [name for name, value in sample.values.items() if value is None],
        "tokens": {name: counts and list(counts) for name, counts in sample.tokens.items()},
    }


def _counted(plan: Plan, sample: Sample, modality: str) -> str:
    """How many tokens stand for a value, stream by stream; empty where the value is absent."""
    value = sample.values[modality]
    if value is None:
        return ""
    said = []
    for stream in plan.of_modality(modality):
        counts = sample.tokens.get(stream.name)
        if stream.is_dense:
            counted = (
                len(value) if stream.layout == "sequence" and isinstance(value, Sized) else stream.length
            )
            said.append(f"{stream.name}: {_tokens((counted,))}")
        elif counts is None:
            said.append(f"{stream.name}: not encoded")
        else:
            said.append(f"{stream.name}: {_tokens(counts)}")
    return "\n".join(said)


def _tokens(counts: Sequence[int]) -> str:
    return f"{' and '.join(map(str, counts))} {'token' if tuple(counts) == (1,) else 'tokens'}"
