"""Learned codecs after a few steps on drawn values, so that laws are tried on weights that a fit has moved.

What such a codec keeps of a value is as little as before; that the ids, shapes, ranges and files of a codec
hold once its weights, its scales and its measured law come from a fit is what is tried.
"""

import tempfile

from hypothesis import Phase, given, settings
from hypothesis import seed as seeded

from fourm_codecs.base import StoredCodec
from fourm_codecs.fit import FitRecipe, fit
from fourm_codecs.set_fit import fit_set
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.lawbook.search import SLOW_IS_FINE
from fourm_schema.modality import Modality, Set
from fourm_schema.strategies import values

DRAWN = 24
"""Values that a codec is fitted on; one in ten is held out."""

RECIPE = FitRecipe(size="tiny", steps=3, batch_size=4, lr=1e-3, save_every=3)


def fitted(modality: str, entry: Modality, vocabulary: WordVocabulary | None = None) -> StoredCodec:
    """The learned codec of an entry, fitted for a few steps on values that are drawn from the entry.

    Args:
        modality: its name.
        entry: what the schema says of it.
        vocabulary: of the text fields of a set with learned fields, if it has some.

    Raises:
        CodecError: if the entry's codec is no learned one, or cannot be fitted on what is drawn.
    """
    found = drawn_values(entry)
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(entry, Set):
            return fit_set(modality, entry, found, folder, RECIPE, vocabulary=vocabulary).codec
        return fit(modality, entry, found, folder, RECIPE).codec


def drawn_values(entry: Modality, count: int = DRAWN) -> list[object]:
    """So many values of an entry, the same each time; of a set, none is empty."""
    found = list[object]()

    @seeded(0)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=SLOW_IS_FINE,
    )
    @given(values(entry).filter(lambda value: not isinstance(entry, Set) or bool(value)))
    def collect(value: object) -> None:
        found.append(value)

    collect()
    # Where an entry has fewer values than are asked for, they come again.
    return [found[number % len(found)] for number in range(count)]
