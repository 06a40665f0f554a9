"""Fitting the learned codecs of a set's fields: each to the values of its field in all records.

What a field's codec keeps is measured on one value in ten; of masks, their overlap too.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import attrs
import numpy as np

from fourm_codecs.base import Array, Record, StoredCodec
from fourm_codecs.files import from_bytes, read_file, to_bytes, write_file
from fourm_codecs.fit import FIT, FitRecipe, Progress, fit
from fourm_codecs.fit_report import FitReport
from fourm_codecs.fit_values import HELD_OUT_EVERY, HELD_OUT_MOST, Values
from fourm_codecs.set_codes import (
    CHUNK,
    RawValues,
    entry_of_field,
    learned_fields,
    overlap_of_masks,
    raw_values,
)
from fourm_codecs.sets import SetCodec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.errors import CodecError
from fourm_schema.modality import Set
from fourm_schema.set_fields import MaskField

REPORT = "report.json"


@attrs.frozen
class FittedField:
    """What came of the fit of one field.

    Attributes:
        report: of the fit.
        overlap: of a mask, the mean intersection over union of the masks held out and what came back; None of
            a vector.
    """

    report: FitReport
    overlap: float | None = None


@attrs.frozen
class FittedSet:
    """A set's codec, and what was measured of each of its learned fields."""

    codec: SetCodec
    fields: Mapping[str, FittedField]


def fit_set(
    modality: str,
    entry: Set,
    values: Values,
    out_dir: Path | str,
    recipe: FitRecipe | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    vocabulary: WordVocabulary | None = None,
) -> FittedSet:
    """Fit the codec of every field in learned codes, one after the other.

    The same values, recipe and machine give the same weights, also if a fit was killed and resumed.

    Args:
        modality: its name.
        entry: the declared set.
        values: sets, or a function that reads them in chunks, anew at each call.
        out_dir: what belongs to the fit of a field goes to its folder `FIELD/fit`.
        recipe: how to fit; the same for each field.
        resume: go on from the states in `out_dir` where there are some.
        progress: called after each step, with `MODALITY.FIELD` as name.
        vocabulary: of text fields, if there are any.

    Raises:
        CodecError: if no field is in learned codes, a value is none of its field, a field has fewer than ten,
            or a state to resume is of another fit.
    """
    learned = learned_fields(entry)
    if not learned:
        raise CodecError(modality, "has no field in learned codes", mend="its codec follows from its entry")
    codecs, fitted = dict[str, StoredCodec](), dict[str, FittedField]()
    for name, field in learned.items():
        raw = raw_values(name, field, entry.out_of_range == "clip", modality)
        source = FieldValues(modality, name, raw, values)
        folder = Path(out_dir) / name
        found = fit(
            f"{modality}.{name}", entry_of_field(field), source.chunks, folder, recipe, resume, progress
        )
        codecs[name] = found.codec
        overlap = None
        if isinstance(field, MaskField):
            overlap = mask_overlap(found.codec, source.held_out())
            report = from_bytes(read_file(folder / FIT / REPORT), str(folder / FIT / REPORT))
            write_file(folder / FIT / REPORT, to_bytes({**report, "mask_overlap": overlap}))
        fitted[name] = FittedField(found.report, overlap)
    return FittedSet(SetCodec(modality, entry, vocabulary, codecs=codecs), fitted)


@attrs.frozen
class FieldValues:
    """The values of one field in all records of a set, as arrays.

    Attributes:
        modality: the set; errors start with it.
        name: of the field.
        raw: reads the field's values.
        sets: where they come from.
    """

    modality: str
    name: str
    raw: RawValues
    sets: Values

    def chunks(self) -> Iterator[Sequence[object]]:
        """Those that are present, some at a time.

        Raises:
            CodecError: if a value is none of the field.
        """
        present = self._present()
        while chunk := [*islice(present, CHUNK)]:
            yield chunk

    def held_out(self) -> list[Array]:
        """Those that no fit is trained on: one in ten."""
        most = HELD_OUT_EVERY * HELD_OUT_MOST
        return [*islice(self._present(), HELD_OUT_EVERY - 1, most, HELD_OUT_EVERY)]

    def _present(self) -> Iterator[Array]:
        where = f"{self.modality}, field {self.name!r}"
        for chunk in self.sets() if callable(self.sets) else [self.sets]:
            for value in chunk:
                records = [value] if isinstance(value, Mapping) else cast("Sequence[Record]", value)
                for record in records:
                    if record.get(self.name) is not None:
                        yield self.raw.read(record[self.name], where)


def mask_overlap(codec: StoredCodec, masks: Sequence[Array]) -> float:
    """Mean intersection over union of masks and what a codec gives back of them; 1 where both are empty."""
    found = []
    for start in range(0, len(masks), CHUNK):
        chunk = masks[start : start + CHUNK]
        for mask, back in zip(chunk, codec.decode(codec.encode(chunk)), strict=True):
            found.append(overlap_of_masks(mask, back))
    return float(np.mean(found))
