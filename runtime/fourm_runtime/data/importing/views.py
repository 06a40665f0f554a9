"""Which windows of a sample are stored: the whole at another size, or several random ones.

Random windows are drawn as for Inception (Szegedy et al. 2015, arXiv 1409.4842, section 6): a share of the
area, then a ratio of the sides. They are a function of (seed, sample, view).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import attrs
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fourm_runtime.data import store
from fourm_runtime.data.importing.crops import Window, crop, picture_size
from fourm_runtime.data.layout import ID
from fourm_runtime.data.order import keyed
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError
from fourm_schema.modality import Image
from fourm_schema.schema import Schema

Fit = Literal["exact", "center", "stretch"]
Array = NDArray[np.generic]

CROP: Final = "crop"
_FIELD = pa.field(
    CROP,
    pa.list_(pa.float64(), 5),
    metadata={b"fourm.crop": b"x0, y0, x1, y1 in shares of the picture; mirrored"},
)
_OF_VIEWS = 13
_RATIOS = (3 / 4, 4 / 3)
_TRIES = 10


@attrs.frozen
class Views:
    """How samples are brought to the size of the schema.

    Attributes:
        fit: "exact" takes images as they are; "center" the largest window of the right shape in the middle;
            "stretch" the whole, its sides scaled each for itself.
        crops: so many windows of each sample are stored as a row each; 0 stores the sample alone. The first
        is
            the one in the middle, the others are random.
        seed: of the random windows.
        smallest: least share of the picture that a random window covers.
        flip: mirror each random window with a chance of one half.
    """

    fit: Fit = "exact"
    crops: int = 0
    seed: int = 0
    smallest: float = 0.2
    flip: bool = True

    @property
    def fields(self) -> Sequence[pa.Field]:
        """Columns besides those of the schema."""
        return [_FIELD] if self.crops else []

    def columns(self, table: pa.Schema) -> pa.Schema:
        """The columns of a dataset of such samples."""
        for field in self.fields:
            table = table.append(field)
        return table

    def check(self, schema: Schema) -> None:
        """Refuse a schema that has no place for the settings.

        Raises:
            DataError: if a modality has the name of their column.
        """
        if self.crops and CROP in schema.modalities:
            raise DataError(
                f"modalities.{CROP}", "is the name of the column of crop settings", mend="rename it"
            )

    def of(
        self, row: Mapping[str, object], schema: Schema, index: int, name: str, where: str
    ) -> list[tuple[LocatedRow, Array | None]]:
        """The rows that are stored of a sample, with the crop settings of each.

        Args:
            row: its values.
            schema: what they are.
            index: its number in the source.
            name: its id; that of a view has the number of the view behind it.
            where: what to call it.

        Raises:
            DataError: if a value cannot be cropped.
        """
        if self.fit == "exact" and not self.crops:
            return [(LocatedRow(row, place=where), None)]
        shape = _shape(row, schema)
        if not self.crops:
            window = Window() if self.fit == "stretch" else middle(shape)
            cut = crop(row, schema, window, where=where)
            return [(LocatedRow(cut, place=where), None)]
        found: list[tuple[LocatedRow, Array | None]] = []
        for view in range(self.crops):
            window, flip = self.drawn(shape, index, view)
            cut = crop(row, schema, window, flip, where)
            settings = np.array([window.x0, window.y0, window.x1, window.y1, flip], np.float64)
            found.append((LocatedRow({**cut, ID: f"{name}#{view}"}, place=f"{where} view {view}"), settings))
        return found

    def drawn(self, shape: float, index: int, view: int) -> tuple[Window, bool]:
        """One window of a sample, and whether it is mirrored.

        Args:
            shape: width over height of the window in the middle, as shares: 1 where the picture has the shape
                of the schema's images.
            index: number of the sample in the source.
            view: number of the view; 0 is the window in the middle.
        """
        if view == 0:
            return (Window() if self.fit == "stretch" else middle(shape)), False
        draws = (
            keyed(self.seed, _OF_VIEWS, index, view, np.arange(4 * _TRIES + 1)).astype(np.float64) / 2.0**64
        )
        flip = self.flip and bool(draws[-1] < 0.5)
        low, high = np.log(_RATIOS)
        for area, ratio, x, y in draws[:-1].reshape(_TRIES, 4):
            covered = self.smallest + (1 - self.smallest) * area
            sides = shape * np.exp(low + (high - low) * ratio)
            width, height = float(np.sqrt(covered * sides)), float(np.sqrt(covered / sides))
            if width <= 1 and height <= 1:
                x0, y0 = float(x) * (1 - width), float(y) * (1 - height)
                return Window(x0, y0, min(x0 + width, 1.0), min(y0 + height, 1.0)), flip
        return middle(shape), flip


def middle(shape: float) -> Window:
    """The largest window in the middle whose width over height, as shares, is this.

    >>> middle(0.5)
    Window(x0=0.25, y0=0.0, x1=0.75, y1=1.0)
    """
    width, height = min(1.0, shape), min(1.0, 1 / shape)
    return Window((1 - width) / 2, (1 - height) / 2, (1 + width) / 2, (1 + height) / 2)


def settings_of(stored: Sequence[float]) -> tuple[Window, bool]:
    """Read a value of the column of crop settings."""
    x0, y0, x1, y1, flip = stored
    return Window(x0, y0, x1, y1), bool(flip)


def follow_crops(
    place: store.Place,
    schema: Schema,
    rows: Iterable[Mapping[str, object]],
    modalities: Collection[str] | None = None,
) -> Iterator[LocatedRow]:
    """Cut rows of whole samples as a dataset's crops were cut, e.g. to fill a modality that was made later.

    Args:
        place: a dataset with crop settings.
        schema: what the rows hold.
        rows: with the ids that the samples had before they were cropped.
        modalities: what is cut; values of others are passed on as they are. None cuts all.

    Returns:
        a row for each stored crop of each of them, with the id of that crop.

    Raises:
        DataError: if the dataset has no crop settings, or a value cannot be cropped.
    """
    dataset = store.open_version(place)
    if CROP not in dataset.schema.names:
        raise DataError(str(place), "has no crop settings", mend="it was imported without --crops")
    known: dict[str, list[tuple[str, list[float]]]] = {}
    for batch in dataset.to_batches(columns=[ID, CROP]):
        for name, settings in zip(*(batch.column(place).to_pylist() for place in range(2)), strict=True):
            if settings is not None:
                known.setdefault(name.rpartition("#")[0], []).append((name, settings))
    for number, row in enumerate(rows):
        where = row.place if isinstance(row, LocatedRow) else f"row {number}"
        cut = {key: row[key] for key in row if modalities is None or key in modalities}
        for name, settings in known.get(str(row.get(ID)), [(str(row.get(ID)), [0.0, 0.0, 1.0, 1.0, 0.0])]):
            window, flip = settings_of(settings)
            yield LocatedRow({**row, **crop(cut, schema, window, flip, where), ID: name}, place=where)


def _shape(row: Mapping[str, object], schema: Schema) -> float:
    """Width over height, as shares of a sample's picture, of a window of the shape of the schema's images."""
    size = picture_size(row, schema)
    wanted = [
        entry.size for name, entry in schema.modalities.items() if isinstance(entry, Image) and name in row
    ]
    if size is None or not wanted:
        return 1.0
    rows, columns = max(wanted, key=lambda pair: pair[0] * pair[1])
    return (columns / rows) * (size[0] / size[1])
