"""Arrays that hold several views of a sample, as 4M's tokenizers write them: a row for each view."""

import numpy as np

from fourm_runtime.data.importing.sources.source import Int64, Reading, Source
from fourm_runtime.data.layout import ID, raw_shape
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.modality import Image, Modality, Vector


class Stacked(Source):
    """The views of another source's samples, as a row each; what has no axis of views is in all of them.

    Args:
        source: the samples.
        views: how many views each has.
        reading: says which shape one view of a modality has.
    """

    def __init__(self, source: Source, views: int, reading: Reading) -> None:
        super().__init__(source.place, [])
        self._source, self._views, self._entries = source, views, reading.schema.modalities
        self.notes = source.notes

    def __len__(self) -> int:
        return len(self._source) * self._views

    @property
    def chunks(self) -> Int64:
        return self._source.chunks * self._views

    @property
    def chunk_bytes(self) -> int:
        return self._source.chunk_bytes

    def digest(self) -> str:
        return f"{self._source.digest()} {self._views}"

    def content(self) -> str:
        return f"{self._source.content()} {self._views}"

    def row(self, index: int) -> LocatedRow:
        sample, view = divmod(index, self._views)
        row = self._source.row(sample)
        name = row.get(ID, sample)
        for modality, value in row.items():
            entry = self._entries.get(modality)
            if isinstance(value, np.ndarray) and entry is not None and self._is_stack(value, entry):
                row[modality] = value[view]
        row[ID] = f"{name}#{view}"
        row.place = f"{row.place} view {view}"
        return row

    def _is_stack(self, value: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", entry: Modality) -> bool:
        if not isinstance(entry, Image | Vector) or value.ndim < 2 or len(value) != self._views:
            return False
        one = raw_shape(entry)
        rolled = (int(np.prod(one)),) if entry.codec == "ids" else one
        return value.shape[1:] in (one, rolled) or (isinstance(entry, Image) and value.ndim == len(one) + 1)
