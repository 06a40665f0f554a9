"""Every law of codecs and dense views, by subject."""

from fourm_codecs.lawbook.decoding_laws import DECODING_LAWS
from fourm_codecs.lawbook.dense_laws import DENSE_LAWS
from fourm_codecs.lawbook.encoding_laws import ENCODING_LAWS
from fourm_codecs.lawbook.refusal_laws import REFUSAL_LAWS
from fourm_codecs.lawbook.set_laws import SET_LAWS
from fourm_codecs.lawbook.storage_laws import STORAGE_LAWS
from fourm_codecs.lawbook.subject import Subject
from fourm_codecs.lawbook.value_laws import VALUE_LAWS
from fourm_schema.lawbook.article import Article

CODEC_LAWS: tuple[Article[Subject], ...] = (
    *ENCODING_LAWS,
    *DECODING_LAWS,
    *VALUE_LAWS,
    *REFUSAL_LAWS,
    *STORAGE_LAWS,
    *SET_LAWS,
    *DENSE_LAWS,
)

FITTED_LAWS: tuple[Article[Subject], ...] = (*ENCODING_LAWS, *DECODING_LAWS, *STORAGE_LAWS, *SET_LAWS)
"""Those that depend on what a codec has learned: what is refused and how values are written do not."""
