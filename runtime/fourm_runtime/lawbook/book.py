"""Every law there is, and what of a schema each is tried on."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from fourm_codecs.base import StoredCodec
from fourm_codecs.lawbook.codec_laws import CODEC_LAWS, FITTED_LAWS
from fourm_codecs.lawbook.subjects import Prepared, prepare
from fourm_runtime.lawbook.data_laws import DATA_LAWS
from fourm_runtime.lawbook.mask_laws import MASK_LAWS
from fourm_runtime.lawbook.masked_plan import MaskedPlan
from fourm_runtime.lawbook.model_laws import MODEL_LAWS
from fourm_runtime.lawbook.packing_laws import PACKING_LAWS
from fourm_schema.lawbook.article import Article, SubjectT
from fourm_schema.lawbook.schema_laws import ENTRY_LAWS, SCHEMA_LAWS, DeclaredModality
from fourm_schema.lawbook.search import Outcome, Profile, search
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema

SCHEMA = "schema"
"""The subject of laws that speak of all modalities together."""

CODEC = "codec"
"""In place of a law where a modality has no codec yet, so that none of its laws can be tried."""

FITTED = " (fitted)"
"""Behind the name of a modality whose learned codec was fitted for the test."""

A_FEW_STEPS = "a fit of a few steps to drawn values"

Laws = tuple[Article[Any], ...]

CHAPTERS: Mapping[str, Laws] = {
    "the schema": SCHEMA_LAWS,
    "an entry": ENTRY_LAWS,
    "codecs and dense views": CODEC_LAWS,
    "stored values": DATA_LAWS,
    "masks": MASK_LAWS,
    "packing": PACKING_LAWS,
    "the model": MODEL_LAWS,
}
"""What laws are about -> the laws."""


@attrs.frozen(eq=False)
class Case:
    """One law to be tried on one subject.

    Attributes:
        law: its id.
        subject: a modality, or `schema`.
        run: tries it.
        not_tested: why it cannot be tried; empty where it can.
        stands_in: what is tested in place of something trained.
    """

    law: str
    subject: str
    run: Callable[[Profile], Outcome]
    not_tested: str = ""
    stands_in: str = ""


def cases(
    schema: Schema,
    trained: Mapping[str, StoredCodec] | None = None,
    modalities: Iterable[str] | None = None,
    fit: bool = False,
) -> list[Case]:
    """What there is to try on a schema.

    Args:
        schema: the declaration.
        trained: fitted codecs by modality; what is not among them is tested with random weights and sample
            words, or not at all.
        modalities: which; None takes all, and the laws of the schema as a whole.
        fit: learned codecs are also tested after a few steps of a fit to drawn values.

    Raises:
        PlanError: if the schema has no such modality.
    """
    prepared = prepare(schema, trained, modalities, fit)
    found = [] if modalities is not None else [*_of_the_whole(schema)]
    for one in prepared:
        found += _of_modality(schema, one)
    return found


def _of_the_whole(schema: Schema) -> Iterator[Case]:
    yield from (_case(law, schema, SCHEMA, 0) for law in SCHEMA_LAWS)
    masked = MaskedPlan.of_plan(resolve(schema))
    laws = (*MASK_LAWS, *PACKING_LAWS, *MODEL_LAWS)
    yield from (_case(law, masked, SCHEMA, 0) for law in laws if law.applies(masked))
    yield from (_untested(chapter, SCHEMA, why) for chapter, why in masked.not_tested.items())
    left_out = [stream.name for stream in resolve(schema).streams if stream.name not in masked.plan.names]
    for name in left_out:
        why = "sequences of vectors cannot be masked yet"
        yield _untested("masks", name.partition(".")[0], why)


def _of_modality(schema: Schema, prepared: Prepared) -> Iterator[Case]:
    tested = prepared.tested
    declared = DeclaredModality(schema, tested.name)
    yield from (_case(law, declared, tested.name, 0) for law in ENTRY_LAWS)
    yield from (_untested(CODEC, tested.name, reason) for reason in prepared.not_tested.values())
    if tested.faces:
        laws = [law for law in (*CODEC_LAWS, *DATA_LAWS) if law.applies(tested)]
        yield from (_case(law, tested, tested.name, tested.numbers, prepared.stands_in) for law in laws)
    if (fitted := prepared.fitted) is not None:
        laws = [law for law in FITTED_LAWS if law.applies(fitted)]
        name = f"{tested.name}{FITTED}"
        yield from (_case(law, fitted, name, fitted.numbers, A_FEW_STEPS) for law in laws)


def _case(law: Article[SubjectT], subject: SubjectT, name: str, numbers: int, stands_in: str = "") -> Case:
    def run(profile: Profile) -> Outcome:
        return search(law, subject, name, profile.examples(numbers), profile.seed)

    return Case(law.id, name, run, "", stands_in)


def _untested(law: str, name: str, reason: str) -> Case:
    return Case(law, name, lambda profile: Outcome(law, "", name, 0, not_tested=reason), reason)


def set_apart() -> None:
    """Take all that is loaded from the sight of the garbage collector.

    Laws make lists of as many numbers as a photo has, at which it would look through all of it again and
    again: most of the time of some.
    """
    gc.collect()
    gc.freeze()


def hold(
    found: Sequence[Case], profile: Profile | None = None, progress: Callable[[int, int], None] | None = None
) -> list[Outcome]:
    """Try laws, one after the other.

    Args:
        found: what `cases` gives.
        profile: how thoroughly; None takes the fast one.
        progress: is called with the number of cases tried, and of all.

    Returns:
        What became of each case, in their order; the same each time.
    """
    outcomes = []
    set_apart()
    try:
        for number, case in enumerate(found, start=1):
            outcomes.append(case.run(profile or Profile()))
            if progress is not None:
                progress(number, len(found))
    finally:
        gc.unfreeze()
    return outcomes
