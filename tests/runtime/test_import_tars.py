"""Tars of samples: patterns, keys that must line up, and every way in which a tar can be bad."""

import json
from pathlib import Path

import attrs
import numpy as np
import pytest

from fourm_runtime.data.importing.importer import ImportSettings, import_source
from fourm_runtime.data.importing.sources.opening import open_source
from fourm_runtime.data.importing.sources.source import Reading
from fourm_runtime.data.importing.sources.tars import ending_names
from fourm_schema.errors import DataError
from fourm_schema.load import parse_schema
from tests.runtime.import_files import (
    SCHEMA,
    YAML,
    flat,
    imported,
    members,
    npy,
    samples,
    stored,
    write_modality_tars,
    write_tar,
    write_webdataset,
)

READING = Reading(SCHEMA, frozenset(SCHEMA.modalities))


def with_one_bad(folder: Path, ending: str, data: bytes, name: str = "codes") -> str:
    """Tars of twelve samples; the file of sample 5 in one of them is replaced."""
    given = samples(12)
    pattern = write_modality_tars(folder, given)
    files = [(f"{s['id']}.{members(s)[name][0]}", members(s)[name][1]) for s in given[4:8]]
    files[1] = (f"s005.{ending}", data)
    write_tar(folder / name / "shard-0001.tar", files)
    return pattern


def test_tars_of_4m_need_no_pattern_and_may_be_compressed(tmp_path: Path) -> None:
    """The folder of the modalities' folders says it all."""
    given = samples(6)
    write_modality_tars(tmp_path / "in", given)
    plain = tmp_path / "in" / "rgb" / "shard-0001.tar"
    write_tar(plain.with_suffix(".tar.gz"), [(f"{s['id']}.png", members(s)["rgb"][1]) for s in given[4:]])
    plain.unlink()
    (tmp_path / "in" / "rgb" / "shard-0001.tar.gz").rename(tmp_path / "in" / "rgb" / "shard-0001.tar.gz")
    for name in ("codes", "shape", "caption"):
        last = tmp_path / "in" / name / "shard-0001.tar"
        ending = members(given[0])[name][0]
        write_tar(
            last.with_suffix(".tar.gz"), [(f"{s['id']}.{ending}", members(s)[name][1]) for s in given[4:]]
        )
        last.unlink()
    report = imported(tmp_path / "in", tmp_path / "a.lance")

    assert report.format == "tars"
    assert stored(tmp_path / "a.lance") == {str(sample["id"]): flat(sample) for sample in given}


def test_keys_that_do_not_line_up_are_named_with_their_tars(tmp_path: Path) -> None:
    """Silently pairing the wrong files is the worst that can happen to aligned data."""
    given = samples(8)
    pattern = write_modality_tars(tmp_path / "in", given)
    bad = tmp_path / "in" / "shape" / "shard-0001.tar"
    write_tar(
        bad, [("s004.npy", npy([0.5, 0.5])), ("s005.npy", npy([0.5, 0.5])), ("t1.npy", npy([0.5, 0.5]))]
    )

    with pytest.raises(DataError) as caught:
        imported(pattern, tmp_path / "a.lance")
    said = str(caught.value)
    assert f"{bad} lacks 2 (s006, s007)" in said
    assert f"{tmp_path / 'in' / 'rgb' / 'shard-0001.tar'} lacks 1 (t1)" in said
    assert "9 in all" in said and "--missing null" in said
    assert not (tmp_path / "a.lance").exists()
    report = imported(pattern, tmp_path / "a.lance", missing="null")
    found = stored(tmp_path / "a.lance")
    assert found["s006"]["shape"] is None and found["t1"]["rgb"] is None
    assert f"{bad} lacks 2 of the samples, which are absent there" in report.notes


@pytest.mark.parametrize("left", [0.4, 0.75, 0.97])
def test_a_tar_that_is_cut_off_is_found_before_anything_is_stored(tmp_path: Path, left: float) -> None:
    """Also where the cut falls between members: an end mark is missing then."""
    pattern = write_modality_tars(tmp_path / "in", samples(8))
    tar = tmp_path / "in" / "rgb" / "shard-0000.tar"
    whole = tar.read_bytes()
    used = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    tar.write_bytes(whole[: int(used * left) // 512 * 512] if left < 0.9 else whole[:used])

    with pytest.raises(
        DataError, match=r"1 of 8 tars are damaged; got .*rgb/shard-0000\.tar is cut off.*restore"
    ):
        imported(pattern, tmp_path / "a.lance")
    assert not (tmp_path / "a.lance").exists()
    report = imported(pattern, tmp_path / "a.lance", missing="null")
    assert any("read as far as they are whole" in note for note in report.notes)
    assert report.samples == 8
    tar.write_bytes(b"no tar at all" * 99)
    with pytest.raises(DataError, match=r"shard-0000\.tar: is no tar"):
        imported(pattern, tmp_path / "b.lance")
    tar.write_bytes(b"")
    with pytest.raises(DataError, match=r"shard-0000\.tar is empty"):
        imported(pattern, tmp_path / "b.lance")


@pytest.mark.parametrize(
    ("ending", "data", "message"),
    [
        (
            "npy",
            None,
            r"s005\.npy is no plain array; got Object arrays cannot be loaded.*nothing is unpickled",
        ),
        ("npy", npy(np.zeros(3, np.uint16)), r"a grid of 2 x 2 token ids, or a row of 4; got 3"),
        ("npy", npy(np.array([0, 1, 2, 16], np.uint16)), r"token ids are whole numbers in \[0, 15\]; got 16"),
        ("npy", npy(np.zeros(4, np.uint16))[:-2], r"s005\.npy is no plain array"),
        ("json", b"[[1, 2], [3", r"s005\.json is no JSON"),
        ("bin", b"", r"a value's file is one of \.npy, .*; got s005\.bin"),
    ],
    ids=["pickled", "count", "overflow", "cut off", "json", "ending"],
)
def test_one_bad_member_is_quarantined_or_refused(
    tmp_path: Path, ending: str, data: bytes | None, message: str
) -> None:
    """Nothing is unpickled, no wrong token gets in, and the other samples are stored."""
    if data is None:
        np.save(tmp_path / "o.npy", np.array([{}, None], object), allow_pickle=True)
        data = (tmp_path / "o.npy").read_bytes()
    pattern = with_one_bad(tmp_path / "in", ending, data)
    with pytest.raises(
        DataError, match=rf"a sample cannot be stored \(--strict\); nothing was stored\n.*{message}"
    ):
        imported(pattern, tmp_path / "a.lance", ImportSettings(strict=True))
    assert not (tmp_path / "a.lance").exists()
    report = imported(pattern, tmp_path / "a.lance")

    assert (report.samples, report.quarantined) == (11, 1)
    assert "s005" not in stored(tmp_path / "a.lance")
    assert report.quarantine is not None
    (line,) = Path(report.quarantine).read_text().splitlines()
    told = json.loads(line)
    assert told["row"] == 5
    assert "s005" in told["where"] and {"what", "got", "mend"} <= told.keys()


def test_a_sample_is_found_twice_or_in_two_forms(tmp_path: Path) -> None:
    write_modality_tars(tmp_path / "in", samples(2))
    tar = tmp_path / "in" / "shape" / "shard-0000.tar"
    write_tar(tar, [("s000.npy", npy([0, 0])), ("s000.npy", npy([0, 0]))])
    with pytest.raises(DataError, match=r"has two members of one name; got s000\.npy"):
        imported(tmp_path / "in", tmp_path / "a.lance")
    write_tar(tar, [("s000.npy", npy([0, 0])), ("s000.json", b"[0, 0]"), ("s001.npy", npy([0, 0]))])
    with pytest.raises(DataError, match=r"sample 's000': has several members; got json, npy"):
        imported(tmp_path / "in", tmp_path / "a.lance")


def test_patterns_name_files_that_must_be_there(tmp_path: Path) -> None:
    write_modality_tars(tmp_path / "in", samples(8))
    brackets = f"{tmp_path}/in/[rgb,caption]/shard-"
    source = open_source(brackets + "{0000,0001}.tar", READING)

    assert len(source) == 8 and source.notes == ["absent in all samples: codes, shape"]
    with pytest.raises(
        DataError, match=r"names files that are not there; got .*shard-0002\.tar, .* and 1 more"
    ):
        open_source(brackets + "{0000..0005}.tar", READING)
    with pytest.raises(DataError, match=r"a range runs upwards; got \{5\.\.1\}"):
        open_source(brackets + "{5..1}.tar", READING)
    (tmp_path / "in" / "rgb" / "shard-0001.tar").unlink()
    with pytest.raises(DataError, match=r"each modality has as many tars; got rgb 1, codes 2"):
        open_source(tmp_path / "in", READING)


def test_endings_of_webdataset_say_their_modality(tmp_path: Path) -> None:
    """A name of the schema, the schema's own word for it, or the only modality that it can be."""
    wanted = set(SCHEMA.modalities)
    assert ending_names(SCHEMA, wanted, {"jpg", "codes.npy", "shape.npy", "txt", "json"}) == {
        "jpg": "rgb",
        "codes.npy": "codes",
        "shape.npy": "shape",
        "txt": "caption",
    }
    two = parse_schema(YAML.replace("caption: {", "caption: {source: {field: caption.json}, "))
    assert ending_names(two, wanted, {"png", "caption.json", "txt"}) == {
        "png": "rgb",
        "caption.json": "caption",
    }
    path = write_webdataset(tmp_path / "in", samples(6))
    first = members(samples(6)[5])
    write_tar(tmp_path / "in" / "part-2.tar", [("s006.png", first["rgb"][1]), ("s006.md5", b"x")])
    with pytest.raises(DataError, match=r"part-2\.tar, caption \(caption\.json\), lacks 1 \(s006\)"):
        imported(path, tmp_path / "a.lance")


def test_arrays_of_several_views_become_a_row_each(tmp_path: Path) -> None:
    """4M's tokenizers write the ids of several crops of a sample as one array."""
    codes = np.arange(24, dtype=np.uint16).reshape(2, 3, 4) % 16
    for number in range(2):
        shapes = npy(np.full((3, 2), [[0.0], [0.25], [0.5]]))
        write_tar(tmp_path / "in" / "shape" / f"{number}.tar", [(f"k{number}.npy", shapes)])
        write_tar(tmp_path / "in" / "codes" / f"{number}.tar", [(f"k{number}.npy", npy(codes[number]))])
        write_tar(tmp_path / "in" / "caption" / f"{number}.tar", [(f"k{number}.json", b'"one"')])
    source = open_source(tmp_path / "in", attrs.evolve(READING, views=3))
    import_source(tmp_path / "a.lance", SCHEMA, source)
    found = stored(tmp_path / "a.lance")

    assert sorted(found) == [f"k{number}#{view}" for number in range(2) for view in range(3)]
    assert found["k1#2"]["codes"] == codes[1, 2].tolist() and found["k1#2"]["shape"] == [0.5, 0.5]
    assert {str(row["caption"]) for row in found.values()} == {"['one']"}
    with pytest.raises(DataError, match=r"codes: a value has shape 2x2; got 3x4"):
        imported(tmp_path / "in", tmp_path / "b.lance")


def test_what_the_webdataset_package_writes_is_read(tmp_path: Path) -> None:
    """Its own writer, where it is installed, rather than our idea of it."""
    webdataset = pytest.importorskip("webdataset")
    given = samples(5)
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as sink:
        for sample in given:
            parts = {name if name != "rgb" else "png": data for name, (_, data) in members(sample).items()}
            named = {"png": "png", "codes": "codes.npy", "shape": "shape.npy", "caption": "caption.json"}
            sink.write({"__key__": str(sample["id"]), **{named[name]: data for name, data in parts.items()}})
    imported(tmp_path / "a.tar", tmp_path / "a.lance")

    assert stored(tmp_path / "a.lance") == {str(sample["id"]): flat(sample) for sample in given}
