"""Run a codec's law over values that Hypothesis draws from the schema entry; measure learned ones on data."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import chain, islice

import attrs

from fourm_codecs.base import StoredCodec
from fourm_codecs.laws import Calibrated, Unmeasured
from fourm_codecs.set_codes import learned_fields, raw_values
from fourm_codecs.sets import SetCodec
from fourm_schema.errors import MissingExtraError
from fourm_schema.modality import Modality


@attrs.frozen
class CheckedCodec:
    """What became of one codec.

    Attributes:
        modality: whose codec it is.
        codec: its name.
        law: the law it states, in words.
        kept: no value broke it.
        faults: how the simplest values found break it.
        measured: what a learned codec kept of real values, in words; empty where none were given.
    """

    modality: str
    codec: str
    law: str
    kept: bool
    faults: tuple[str, ...]
    measured: str = ""


def measure(codec: StoredCodec, chunks: Iterable[Sequence[object]], count: int) -> str:
    """Say what a learned codec keeps of the first `count` values; nothing to say of an exact one."""
    if isinstance(codec.law, Unmeasured):
        from fourm_codecs.tokenizers_4m.codec import TokenizerOf4M
        from fourm_codecs.tokenizers_4m.measure import measured

        first = list(islice(chain.from_iterable(chunks), count))
        return measured(codec, first) if isinstance(codec, TokenizerOf4M) and first else ""
    if isinstance(codec, SetCodec) and codec.codecs:
        return _measured_fields(codec, chunks, count)
    if not isinstance(codec.law, Calibrated):
        return ""
    from fourm_codecs.fit_report import round_trip
    from fourm_codecs.learned import AnyLearned

    values = list(islice(chain.from_iterable(chunks), count))
    if not isinstance(codec, AnyLearned) or not values:
        return ""
    kept = round_trip(codec, values, codec.law.quantile)
    return (
        f"{kept.describe()}; of {kept.quantile:.0%} of the values {kept.metric} at most "
        f"{kept.error_quantile:.3g}; {kept.health()}, in {kept.values:,} values"
    )


def _measured_fields(codec: SetCodec, chunks: Iterable[Sequence[object]], count: int) -> str:
    """The same of each learned field, over the records of the first `count` sets."""
    from fourm_codecs.set_fit import FieldValues

    sets = [*islice(chain.from_iterable(chunks), count)]
    said = []
    for name, field in learned_fields(codec.entry).items():
        raw = raw_values(name, field, codec.entry.out_of_range == "clip", codec.modality)
        values = FieldValues(codec.modality, name, raw, sets).chunks()
        if told := measure(codec.codecs[name], values, count):
            said.append(f"{name}: {told}")
    return "; ".join(said)


def check_codec(codec: StoredCodec, entry: Modality, examples: int) -> CheckedCodec:
    """Draw values of an entry and look for one that breaks what the codec owes of any value.

    Raises:
        MissingExtraError: if Hypothesis is not installed.
    """
    if find_spec("hypothesis") is None:
        raise MissingExtraError("fourm codec check", "test")
    from fourm_codecs.lawbook.encoding_laws import LAWS_OF_VALUES
    from fourm_codecs.lawbook.subject import Subject
    from fourm_schema.lawbook.search import search
    from fourm_schema.strategies import values

    tested = Subject(codec.modality, values(entry), entry, codec)
    found = [search(law, tested, codec.modality, examples) for law in LAWS_OF_VALUES if law.applies(tested)]
    faults = tuple(f"{outcome.law}: {outcome.fault}" for outcome in found if outcome.fault)
    return CheckedCodec(codec.modality, codec.name, codec.law.describe(), not faults, faults)
