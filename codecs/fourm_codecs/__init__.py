"""Values <-> tokens. `build_codec` gives the codec of a declared modality."""

from fourm_codecs.base import Codec, TokenBatch
from fourm_codecs.build import build_codec
from fourm_codecs.store import load_codec, save_codec

__all__ = ["Codec", "TokenBatch", "build_codec", "load_codec", "save_codec"]
