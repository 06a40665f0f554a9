"""What a dataset holds, in numbers."""

from collections.abc import Mapping

import attrs

from fourm_codecs.base import StoredCodec
from fourm_runtime.data import store
from fourm_runtime.data.encoding import StreamStatus, status_of
from fourm_runtime.data.filling import unfilled
from fourm_runtime.data.location import Location
from fourm_runtime.data.storage_faults import reading
from fourm_schema.plan import Plan
from fourm_schema.schema import Schema


@attrs.frozen
class DatasetStatus:
    """What a dataset holds.

    Attributes:
        path: where it lies.
        version: the version this describes.
        rows: its samples.
        present: modality -> samples that have it.
        streams: how far each token stream is encoded.
        pins: tag -> version.
        unfilled: modalities that were added later and lack values in some samples.
        fragments: files of rows that there are.
    """

    path: str
    version: int
    rows: int
    present: Mapping[str, int]
    streams: tuple[StreamStatus, ...]
    pins: Mapping[str, int]
    unfilled: tuple[str, ...]
    fragments: int


def describe(
    place: Location,
    dataset: store.LanceDataset,
    schema: Schema,
    plan: Plan,
    codecs: Mapping[str, StoredCodec],
) -> DatasetStatus:
    """Look at one version; see `Dataset.status`.

    Raises:
        StorageError: if a file of it is missing or damaged.
    """
    with reading(place):
        present = {
            name: int(dataset.count_rows(filter=f"`{name}` IS NOT NULL")) for name in schema.modalities
        }
        rows = int(dataset.count_rows())
    streams = tuple(
        status_of(dataset, schema, stream, codecs.get(stream.modality))
        for stream in plan.streams
        if not stream.is_dense
    )
    pins = {name: int(tag["version"]) for name, tag in dataset.tags.list().items()}
    fragments = len(dataset.get_fragments())
    later = unfilled(dataset, schema)
    return DatasetStatus(str(place), int(dataset.version), rows, present, streams, pins, later, fragments)
