"""From a declaration to its codec: by the table, by a plugin, never by a path."""

import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from fourm_codecs.bins import BinsCodec
from fourm_codecs.build import CODECS, build_codec, codec_class
from fourm_codecs.levels import LevelsCodec
from fourm_codecs.vocabulary import WordVocabulary
from fourm_codecs.wordpiece import WordPieceCodec
from fourm_schema.errors import CodecError, PlanError
from fourm_schema.plan import Special
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from fourm_schema.select import TABLE
from tests.codecs.declared import SCHEMA, WORDS


def declare(**modalities: object) -> Schema:
    return Schema.model_validate({"version": 1, "modalities": modalities})


def test_each_modality_gets_the_codec_that_its_stream_names() -> None:
    """The plan says what the model expects; the codec must agree with it in every number."""
    for stream in resolve(SCHEMA).streams:
        if stream.is_dense:
            continue
        codec = build_codec(SCHEMA, stream.name, {"words": WORDS})

        assert codec.name == stream.codec
        assert codec.vocab_size == stream.vocab_size
        assert codec.token_shape == stream.grid
        assert codec.modality == stream.modality


def test_the_codecs_are_what_the_table_says() -> None:
    built = [build_codec(SCHEMA, name, {"words": WORDS}) for name in ("digit", "parts", "shape", "caption")]

    assert built == [
        LevelsCodec.of_range(8, 8, 0, 16, 17, modality="digit"),
        LevelsCodec.of_classes(4, 4, ["background", "contour", "ink"], modality="parts"),
        BinsCodec.of_range(3, 0, 1, 32, modality="shape"),
        WordPieceCodec("caption", WORDS, 48),
    ]


def test_every_codec_of_the_selection_table_is_built_or_refused_by_name() -> None:
    """A new row of the table must come with a codec, or with words for the user who meets it."""
    assert {row.codec for row in TABLE} - {"none"} == set(CODECS)


@pytest.mark.parametrize(
    ("entry", "codec"),
    [
        (
            {"kind": "image", "size": 32, "patch": 8, "cell": {"type": "categorical", "classes": 4}},
            "vit-class-fsq",
        ),
        (
            {"kind": "image", "size": 32, "patch": 8, "cell": {"type": "features", "channels": 5}},
            "vit-feature-fsq",
        ),
        ({"kind": "vector", "dim": 100}, "mlp-pq"),
    ],
)
def test_a_learned_codec_without_weights_says_how_to_get_them(entry: dict[str, object], codec: str) -> None:
    with pytest.raises(
        CodecError, match=rf"^x: its codec '{codec}' is not trained yet; train it: fourm codec"
    ):
        build_codec(declare(x=entry), "x")


def test_a_text_without_a_trained_vocabulary_says_what_to_train() -> None:
    with pytest.raises(CodecError, match=r"^caption: its vocabulary 'words' is not trained yet; train it"):
        build_codec(SCHEMA, "caption")


def test_a_vocabulary_of_another_schema_is_refused() -> None:
    """Its pieces would start at other ids than the table's rows."""
    other = WordVocabulary.train(["a"], "words", 256, Special(0, 1, 2, 3, 4, 7))

    with pytest.raises(CodecError, match="got 256 ids with 7 sentinels, declared are 256 with"):
        build_codec(SCHEMA, "caption", {"words": other})


def test_an_unknown_codec_lists_the_known_ones() -> None:
    with pytest.raises(
        CodecError,
        match=r"^x: there is no codec 'levles'; did you mean 'levels'\? "
        r"known: bins, grammar, grammar-4m, grammar-codes, levels, mlp-pq, mlp-rvq, vit-class-fsq, "
        r"vit-class-lfq, vit-class-vq, vit-feature-fsq, vit-feature-lfq, vit-feature-vq, vit-fsq, vit-lfq, "
        r"vit-vq, wordpiece$",
    ):
        codec_class("levles", "x")


def test_what_is_shown_dense_only_has_no_codec() -> None:
    entry = {"kind": "vector", "dim": 2, "shown": ["values"], "role": "input"}

    with pytest.raises(CodecError, match=r"x\.values: is shown dense and has no codec; use .*DenseView"):
        build_codec(declare(x=entry), "x")


def test_an_unknown_modality_lists_the_known_ones() -> None:
    with pytest.raises(PlanError, match=r"^digitt: .*did you mean 'digit"):
        build_codec(SCHEMA, "digitt")


@attrs.frozen
class Install:
    """Puts a distribution with one entry point where Python finds it."""

    folder: Path
    see: Callable[[str], None]

    def __call__(self, name: str, target: str, module: str, source: str) -> None:
        (self.folder / f"{module}.py").write_text(source, encoding="utf-8")
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[fourm.codecs]\n{name} = {target}\n", "utf-8")
        self.see(str(self.folder))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    return Install(tmp_path, monkeypatch.syspath_prepend)


SIGN = {
    "kind": "image",
    "size": 4,
    "patch": 2,
    "cell": {"type": "continuous", "range": [0, 1]},
    "codec": "plugin:coarse",
    "vocab_size": 9,
}


def test_an_installed_package_brings_a_codec_by_its_entry_point(install: Install) -> None:
    source = (
        "from fourm_codecs.levels import LevelsCodec\n"
        "class Coarse:\n"
        "    @staticmethod\n"
        "    def from_entry(modality, entry, parts):\n"
        "        return LevelsCodec.of_range(*entry.grid, 0, 1, entry.vocab_size, modality=modality)\n"
    )
    install("coarse", "coarse_plugin:Coarse", "coarse_plugin", source)

    codec = build_codec(declare(sign=SIGN), "sign")

    assert (codec.token_shape, codec.vocab_size) == ((2, 2), 9)
    known = "known: bins, grammar, grammar-4m, grammar-codes, levels, mlp-pq, mlp-rvq, plugin:coarse"
    with pytest.raises(CodecError, match=known):
        codec_class("plugin:fine", "sign")


def test_an_entry_point_that_is_no_codec_is_refused(install: Install) -> None:
    install("coarse", "empty_plugin:Coarse", "empty_plugin", "class Coarse: pass\n")

    with pytest.raises(CodecError, match=r"sign: the plugin behind 'plugin:coarse' is no codec; got <class"):
        build_codec(declare(sign=SIGN), "sign")


@pytest.mark.parametrize("name", ["plugin:os.system", "plugin:antigravity:fly", "os.path:join", "plugin:"])
def test_a_name_in_a_file_never_leads_to_an_import(name: str) -> None:
    before = set(sys.modules)

    with pytest.raises(CodecError, match="there is no codec"):
        codec_class(name, "x")

    assert "antigravity" not in set(sys.modules) - before
