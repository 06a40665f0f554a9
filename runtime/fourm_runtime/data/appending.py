"""Rows: a new dataset, or more rows of one; whole or not at all, and once, however often they are tried."""

from collections.abc import Iterable
from functools import partial

from fourm_runtime.data import staged_files, store
from fourm_runtime.data.layout import read_schema, table_schema
from fourm_runtime.data.location import Location
from fourm_runtime.data.rows import Row
from fourm_runtime.data.staging import next_sample, write_rows
from fourm_schema.errors import DataError
from fourm_schema.schema import Schema

_APPENDED = "fourm.appended."


def create_dataset(
    place: Location, schema: Schema, rows: Iterable[Row], overwrite: bool, rows_per_fragment: int | None
) -> store.LanceDataset:
    """Write a new dataset; see `Dataset.create`."""
    table_schema(schema)
    if place.folder is not None:
        place.folder.mkdir(parents=True, exist_ok=True)
    with store.sole_writer(place):
        taken = store.exists(place)
        if taken and not overwrite:
            raise DataError(
                str(place), "is a dataset already", mend="append to it, or overwrite it (overwrite=True)"
            )
        if not taken and place.folder is not None and not staged_files.remove_unfinished(place.folder):
            raise DataError(
                str(place), "is taken by something that is no dataset", mend="name another folder"
            )
        try:
            return write_rows(place, schema, rows, rows_per_fragment, None)
        except BaseException:
            if (
                place.folder is not None
                and place.folder.is_dir()
                and staged_files.remove_unfinished(place.folder)
            ):
                place.folder.rmdir()
            raise


def append_rows(
    place: Location, rows: Iterable[Row], rows_per_fragment: int | None, once: str | None
) -> tuple[store.LanceDataset, int]:
    """Add rows; see `Dataset.append`.

    What is to be added once is announced just before: its name, and the number of its first sample. If the
    next append finds that number still free, the rows never came. Announcing and adding are two commits, but
    no other append can come between them: the lock of `sole_writer` is held, or its holder was killed.
    """
    with store.sole_writer(place):
        latest = store.open_version(place)
        before = int(latest.count_rows())
        schema = read_schema(latest.schema, str(place))
        announce = None
        if once is not None:
            first, key = next_sample(latest), f"{_APPENDED}{once}"
            announced = (latest.schema.metadata or {}).get(key.encode())
            if announced is not None and int(announced) < first:
                return latest, 0
            keys = _forgotten(latest, first) | {key: str(first)}
            announce = partial(store.set_metadata, place, keys, {})
        dataset = write_rows(place, schema, rows, rows_per_fragment, latest, announce)
    return dataset, int(dataset.count_rows()) - before


def _forgotten(dataset: store.LanceDataset, first: int) -> dict[str, str | None]:
    """What takes back the announcements of rows that never came."""
    return {
        key.decode(): None
        for key, number in (dataset.schema.metadata or {}).items()
        if key.startswith(_APPENDED.encode()) and int(number) >= first
    }
