"""The samples of a run: of one dataset, or of several in a mixture, each pinned in the version it began with.

What is wrong with several datasets is reported together.
"""

import hashlib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import attrs

from fourm_runtime.checkpoints.files import listed
from fourm_runtime.checkpoints.grow import MAY_CHANGE
from fourm_runtime.checkpoints.state import DatasetMark
from fourm_runtime.checkpoints.store import Checkpoint
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.location import Location
from fourm_runtime.data.mixed_reader import MixedReader
from fourm_runtime.data.reader import Reader
from fourm_runtime.training.loop import Samples
from fourm_runtime.training.open_dataset import open_dataset
from fourm_runtime.training.world import World
from fourm_schema.errors import DataError, Fault, FourmError, TrainingError
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

T = TypeVar("T")

Given = Dataset | Location | Path | str | Mapping[str, float] | Mapping[Location, float]
"""One dataset, or several: path -> how often it is drawn from, relative to the others."""


@attrs.frozen(eq=False)
class Part:
    """One dataset of a run, and its weight."""

    dataset: Dataset | Location | Path | str
    weight: float = 1.0


def parts_of(given: Given) -> tuple[Part, ...]:
    """The datasets that were given.

    Raises:
        TrainingError: if there is none, or a weight is no positive number.
    """
    if isinstance(given, Dataset | Location | Path | str):
        return (Part(given),)
    if not given:
        raise TrainingError("datasets", "names none", mend="write e.g. datasets: {x.lance: 1}")
    wrong = [
        Fault(str(path), "needs a weight above 0", repr(weight))
        for path, weight in given.items()
        if not (weight > 0 and math.isfinite(weight))
    ]
    if wrong:
        raise TrainingError("datasets", "have weights that say nothing", mend=listed("change these", wrong))
    return tuple(Part(path, weight) for path, weight in given.items())


def schema_of_samples(given: Given) -> Schema:
    """The schema of a dataset; of several, all that one of them has.

    Where entries of one name differ in nothing that values depend on, that of the first dataset holds.

    Raises:
        DataError: if a dataset cannot be opened, or two mean different things by one name.
    """
    schemas = _each(parts_of(given), lambda part, _: _opened(part.dataset).schema, _name)
    first = schemas[0]
    if len(schemas) == 1:
        return first
    modalities, vocabularies = dict(first.modalities), dict(first.vocabularies)
    for schema in schemas[1:]:
        modalities = {**schema.modalities, **modalities}
        vocabularies = {**schema.vocabularies, **vocabularies}
    names = dict.fromkeys(name for schema in schemas for name in schema.modalities)
    merged = Schema(
        version=first.version,
        vocabularies=vocabularies,
        modalities={name: modalities[name] for name in names},
    )
    _require_agreement(parts_of(given), schemas, merged)
    return merged


def _require_agreement(parts: Sequence[Part], schemas: Sequence[Schema], merged: Schema) -> None:
    """Refuse datasets that mean different things by the name of a modality or of a vocabulary."""
    words = {vocabulary.name: vocabulary for vocabulary in resolve(merged).vocabularies}
    faults = []
    for part, schema in zip(parts, schemas, strict=True):
        for name, entry in schema.modalities.items():
            ours = merged.modalities[name].model_dump(mode="json", by_alias=True)
            theirs = entry.model_dump(mode="json", by_alias=True)
            faults += [
                Fault(
                    f"{_name(part)}, modality {name!r}, field {field}",
                    f"is {ours.get(field)!r} in the datasets before it",
                    repr(theirs.get(field)),
                )
                for field in sorted({*ours, *theirs} - MAY_CHANGE)
                if ours.get(field) != theirs.get(field)
            ]
        for vocabulary in resolve(schema).vocabularies:
            both = words[vocabulary.name]
            if vocabulary.size != both.size or vocabulary.special != both.special:
                faults.append(
                    Fault(
                        f"{_name(part)}, vocabulary {vocabulary.name!r}",
                        f"has {both.size} ids and {both.special.sentinel_count} sentinels in all together",
                        f"{vocabulary.size} and {vocabulary.special.sentinel_count}",
                        "write the same size and sentinels in the schema of each",
                    )
                )
    if faults:
        raise DataError(
            "datasets",
            "do not mean the same by one name",
            mend=listed("import and encode them under one schema that has all their modalities", faults),
        )


@contextmanager
def open_samples(
    given: Given,
    model: Checkpoint,
    marks: Sequence[DatasetMark] | None = None,
    world: World | None = None,
    run: Path | None = None,
) -> Iterator[Samples]:
    """Open the samples of a run, and let them go at the end.

    Args:
        given: one dataset, or several with their weights.
        model: its streams are read; its codecs must be those that made the tokens.
        marks: which samples a resumed run was trained on; None takes the datasets as they are.
        world: the ranks; all read the versions that the leading one found.
        run: the run's directory, for which versions are pinned; None pins nothing.

    Raises:
        DataError: if datasets cannot be read, their tokens were made by other codecs, or their streams mean
            something else than the model's; of several datasets, with every fault.
        TrainingError: if they hold other samples than the run began with.
    """
    parts, world = parts_of(given), world or World()
    if marks is not None:
        _require_same_mixture(parts, marks)

    def look(part: Part, number: int) -> tuple[Dataset, Reader]:
        opened = open_dataset(part.dataset, model, None if marks is None else marks[number])
        return opened, Reader(opened, model.plan)

    with ExitStack() as stack:
        found = _each(parts, look, _name)
        for place, version in enumerate(world.agree([dataset.version for dataset, _ in found])):
            dataset, reader = found[place]
            if dataset.version != version:
                # Somebody wrote to it between the look of the leading rank and ours.
                reader.close()
                dataset = dataset.at(version)
                found[place] = dataset, Reader(dataset, model.plan)
            stack.enter_context(found[place][1])
        if run is not None and world.leads:
            for dataset, _ in found:
                _pin(dataset, run)
        kept = tuple(
            DatasetMark(str(dataset.path), dataset.version, dataset.rows, part.weight)
            for part, (dataset, _) in zip(parts, found, strict=True)
        )
        readers = [reader for _, reader in found]
        alone = readers[0] if len(readers) == 1 else MixedReader(readers, [mark.rows for mark in kept])
        yield Samples(alone, kept)


def pin_of(run: Path, version: int) -> str:
    """The tag under which a run keeps a version of a dataset from being cleaned up."""
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", run.resolve().name)
    return f"run-{name}-{hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:8]}-v{version}"


def _pin(dataset: Dataset, run: Path) -> None:
    try:
        dataset.pin(pin_of(run, dataset.version))
    except OSError as error:
        warnings.warn(
            f"{dataset.path}: version {dataset.version} cannot be pinned ({str(error).splitlines()[0]}); "
            "a compaction and clean-up by others would end this run",
            stacklevel=2,
        )


def _require_same_mixture(parts: Sequence[Part], marks: Sequence[DatasetMark]) -> None:
    """Refuse to go on with other datasets, or with others weights: both decide the order of samples."""
    began = ", ".join(f"{mark.path}: {mark.weight:g}" for mark in marks)
    now = ", ".join(f"{_name(part)}: {part.weight:g}" for part in parts)
    same = len(parts) == len(marks)
    if same:
        ours, theirs = (sum(each.weight for each in side) for side in (parts, marks))
        same = all(
            math.isclose(part.weight / ours, mark.weight / theirs, rel_tol=1e-9)
            for part, mark in zip(parts, marks, strict=True)
        )
    if not same:
        raise TrainingError(
            "datasets",
            f"are not those that this run began with: {{{began}}}",
            got=f"{{{now}}}",
            mend="give these, in this order, or take over others by --extend",
        )


def _opened(dataset: Dataset | Location | Path | str) -> Dataset:
    return dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)


def _name(part: Part) -> str:
    return str(part.dataset.path if isinstance(part.dataset, Dataset) else part.dataset)


def _each(parts: Sequence[Part], look: Callable[[Part, int], T], name: Callable[[Part], str]) -> list[T]:
    """What a look at each dataset finds; every dataset is looked at before an error is raised."""
    found: list[T] = []
    faults: dict[str, FourmError] = {}
    for number, part in enumerate(parts):
        try:
            found.append(look(part, number))
        except FourmError as error:
            faults[name(part)] = error
    if not faults:
        return found
    if len(faults) == 1:
        raise next(iter(faults.values()))
    raise DataError(
        "datasets", f"{len(faults)} of {len(parts)} cannot be used",
        mend=listed("mend each", [fault for error in faults.values() for fault in error.faults]),
    )  # fmt: skip
