"""Upkeep of a dataset: small files merged into larger ones, and old versions removed that nobody pinned.

Both may run while others read and write. Merging makes a new version, and whoever reads an older one goes on
reading its files. Removing keeps the versions of pins, the latest one, and files that are too young to tell
whether somebody is about to commit them.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import attrs
from lance.optimize import Compaction, CompactionOptions, CompactionTask, RewriteResult

from fourm_runtime.data import staged_files, store
from fourm_runtime.data.layout import read_schema
from fourm_runtime.data.location import Location
from fourm_runtime.data.staging import fragment_rows
from fourm_runtime.data.storage_faults import LANCE_FAULTS, committing, is_full, reading, unwritable

_NO_FIELD = -2
"""Lance's mark of a column of a file that stands for nothing any more."""


@attrs.frozen
class Compacted:
    """What merging files did.

    Attributes:
        before: fragments that there were.
        after: fragments that there are.
        rows: rows that were rewritten.
    """

    before: int
    after: int
    rows: int


@attrs.frozen
class CleanedUp:
    """What was removed.

    Attributes:
        versions: how many old versions.
        bytes: what their files took up.
    """

    versions: int
    bytes: int


def compact(place: Location, rows_per_fragment: int | None = None) -> Compacted:
    """Merge neighbouring fragments into ones of up to so many rows; see `Dataset.compact`."""
    dataset = store.open_version(place)
    size = rows_per_fragment or fragment_rows(read_schema(dataset.schema, str(place)))
    before = len(dataset.get_fragments())
    groups = mergeable(dataset, size)
    for group in groups:
        _merge(place, group, size)
    after = len(store.open_version(place).get_fragments()) if groups else before
    return Compacted(before, after, sum(fragment.count_rows() for group in groups for fragment in group))


def mergeable(dataset: store.LanceDataset, size: int) -> list[list[store.LanceFragment]]:
    """Neighbours that fit into one fragment, and of which the same columns were never written.

    A fragment without a file of a column is to be encoded or filled yet: it must not be merged with one that
    has been.
    """
    groups: list[list[store.LanceFragment]] = []
    rows, missing = 0, frozenset[int]()
    fields = _fields(dataset)
    for fragment in dataset.get_fragments():
        lacking = _lacking(fragment, fields)
        if groups and lacking == missing and rows + fragment.count_rows() <= size:
            groups[-1].append(fragment)
            rows += fragment.count_rows()
        else:
            groups.append([fragment])
            rows, missing = fragment.count_rows(), lacking
    return [group for group in groups if len(group) > 1]


def clean_up(place: Location, older_than: timedelta) -> CleanedUp:
    """Remove old versions that no tag pins; see `Dataset.clean_up`."""
    dataset = store.open_version(place)
    with committing(str(place)):
        # Unverified files are those of writers at work, or of killed ones: Lance lets them be for 7 days.
        done = dataset.cleanup_old_versions(
            older_than=max(older_than, timedelta(microseconds=1)),
            delete_unverified=False,
            error_if_tagged_old_versions=False,
        )
    return CleanedUp(int(done.old_versions), int(done.bytes_removed))


def _merge(place: Location, group: Sequence[store.LanceFragment], size: int) -> None:
    """Write the rows of a group as one fragment, and commit that; nothing else changes in this version."""
    names = [fragment.fragment_id for fragment in group]
    where = f"{place} fragments {names[0]} to {names[-1]}"

    def change(dataset: store.LanceDataset) -> None:
        there = {fragment.fragment_id: fragment for fragment in dataset.get_fragments()}
        if not all(name in there for name in names):
            return
        fragments = [there[name] for name in names]
        lacking = {_lacking(fragment, _fields(dataset)) for fragment in fragments}
        if len(lacking) > 1:
            return
        made = _rewrite(dataset, fragments, size, where)
        try:
            Compaction.commit(dataset, [_without(made, lacking.pop())])
        except BaseException:
            staged_files.remove_unless_used(place, staged_files.files_of(made.new_fragments))
            raise

    store.commit(place, where, change)


def _rewrite(
    dataset: store.LanceDataset, fragments: Sequence[store.LanceFragment], size: int, where: str
) -> RewriteResult:
    """Write the rows of some fragments into one that no version refers to yet."""
    options: CompactionOptions = {
        "target_rows_per_fragment": size,
        "data_storage_version": staged_files.STORAGE_VERSION,
    }
    task: dict[str, Any] = {
        "task": {"fragments": [fragment.metadata.to_json() for fragment in fragments]},
        "read_version": dataset.version,
        "options": json.loads(_untyped(Compaction.plan(dataset, options)).json())["options"],
    }
    try:
        made: RewriteResult = _untyped(CompactionTask).from_json(json.dumps(task)).execute(dataset)
    except LANCE_FAULTS as error:
        if is_full(error):
            raise unwritable(where, error) from error
        with reading(where):
            raise
    return made


def _fields(dataset: store.LanceDataset) -> list[int]:
    return [store.leaf_field(dataset, column) for column in dataset.schema.names]


def _lacking(fragment: store.LanceFragment, fields: Sequence[int]) -> frozenset[int]:
    """Fields that the fragment has no file of."""
    return frozenset(field for field in fields if store.lacks(fragment, field))


def _without(made: RewriteResult, fields: frozenset[int]) -> RewriteResult:
    """What was merged, but for columns that no fragment of it had: Lance wrote them, as nulls.

    They would pass for encoded otherwise, and for filled.
    """
    record = json.loads(_untyped(made).json())
    for fragment in record["new_fragments"]:
        for file in fragment["files"]:
            file["fields"] = [_NO_FIELD if field in fields else field for field in file["fields"]]
    result: RewriteResult = _untyped(RewriteResult).from_json(json.dumps(record))
    return result


def _untyped(thing: object) -> Any:
    """Lance's stubs leave out the JSON of these classes, which its documentation names."""
    return thing
