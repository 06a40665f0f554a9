"""The same few samples written in every format that can be imported."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image as Pictures

from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.importing.importer import ImportReport, ImportSettings, import_source
from fourm_runtime.data.importing.sources.opening import open_source
from fourm_runtime.data.importing.sources.source import Missing, Reading
from fourm_schema.load import parse_schema
from fourm_schema.schema import Schema

YAML = """
version: 1
vocabularies: {words: {kind: wordpiece, size: 300}}
modalities:
  rgb: {kind: image, size: 4, patch: 1, cell: {type: continuous, channels: 3, range: [0, 255], levels: 256}}
  codes: {kind: image, size: 4, patch: 2, codec: ids, vocab_size: 16, cell: {type: categorical, classes: 2}}
  shape: {kind: vector, dim: 2, ranges: [0, 1]}
  caption: {kind: text, vocabulary: words, max_tokens: 16, views: 3}
"""
SCHEMA = parse_schema(YAML)

Sample = dict[str, object]


def samples(count: int) -> list[Sample]:
    """Samples that differ in every modality."""
    rng = np.random.default_rng(7)
    return [
        {
            "id": f"s{number:03d}",
            "rgb": rng.integers(0, 256, (4, 4, 3)).astype(np.uint8),
            "codes": rng.integers(0, 16, (2, 2)).astype(np.uint16),
            "shape": rng.random(2).astype(np.float32),
            "caption": [f"sample {number}", f"number {number}"],
        }
        for number in range(count)
    ]


def png(value: object) -> bytes:
    buffer = io.BytesIO()
    Pictures.fromarray(np.asarray(value)).save(buffer, "png")
    return buffer.getvalue()


def npy(value: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value))
    return buffer.getvalue()


def members(sample: Mapping[str, object]) -> dict[str, tuple[str, bytes]]:
    """Modality -> ending and bytes of its file."""
    found = {
        "rgb": ("png", png(sample["rgb"])),
        "codes": ("npy", npy(np.asarray(sample["codes"]).reshape(-1))),
        "shape": ("npy", npy(sample["shape"])),
        "caption": ("json", json.dumps(sample["caption"]).encode()),
    }
    return {name: found[name] for name in found if sample.get(name) is not None}


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_modality_tars(folder: Path, given: list[Sample], per_shard: int = 4) -> str:
    """4M's layout; returns its pattern."""
    shards = range(0, len(given), per_shard)
    for number, first in enumerate(shards):
        for name in SCHEMA.modalities:
            files = [
                (f"{sample['id']}.{ending}", data)
                for sample in given[first : first + per_shard]
                for modality, (ending, data) in members(sample).items()
                if modality == name
            ]
            write_tar(folder / name / f"shard-{number:04d}.tar", files)
    names = ",".join(SCHEMA.modalities)
    return f"{folder}/[{names}]/shard-{{0000..{len(shards) - 1:04d}}}.tar"


def write_folders(folder: Path, given: list[Sample]) -> None:
    for sample in given:
        for name, (ending, data) in members(sample).items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / f"{sample['id']}.{ending}").write_bytes(data)


def write_webdataset(folder: Path, given: list[Sample], per_shard: int = 4) -> str:
    for number, first in enumerate(range(0, len(given), per_shard)):
        files = [
            (f"{sample['id']}.{'png' if name == 'rgb' else f'{name}.{ending}'}", data)
            for sample in given[first : first + per_shard]
            for name, (ending, data) in members(sample).items()
        ]
        write_tar(folder / f"part-{number}.tar", files)
    return str(folder)


def table_of(given: list[Sample]) -> pa.Table:
    """As Hugging Face datasets write it: pictures as structs."""
    return pa.table(
        {
            "id": [str(sample["id"]) for sample in given],
            "rgb": pa.array([{"bytes": png(sample["rgb"]), "path": None} for sample in given]),
            "codes": [np.asarray(sample["codes"]).tolist() for sample in given],
            "shape": [np.asarray(sample["shape"]).tolist() for sample in given],
            "caption": [sample["caption"] for sample in given],
        }
    )


def write_parquet(folder: Path, given: list[Sample]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    half = len(given) // 2
    pq.write_table(table_of(given[:half]), folder / "a.parquet", row_group_size=3)
    pq.write_table(table_of(given[half:]), folder / "b.parquet", row_group_size=3)
    return str(folder)


def write_saved_dataset(folder: Path, given: list[Sample]) -> str:
    """What `datasets.Dataset.save_to_disk` writes, as far as it is read."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, part in enumerate((given[:2], given[2:])):
        table = table_of(part)
        names.append({"filename": f"data-{number:05d}-of-00002.arrow"})
        with pa.ipc.new_stream(str(folder / names[-1]["filename"]), table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": names}))
    (folder / "dataset_info.json").write_text("{}")
    return str(folder)


def write_arrays(folder: Path, given: list[Sample]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, column in columns_of(given).items():
        np.save(folder / f"{name}.npy", column)
    return str(folder)


def write_archive(file: Path, given: list[Sample]) -> str:
    np.savez(file, **columns_of(given))  # type: ignore[arg-type]  # its stubs take the names for options
    return str(file)


def write_lines(file: Path, given: list[Sample]) -> str:
    rows = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in s.items()} for s in given]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(file)


def columns_of(given: list[Sample]) -> dict[str, NDArray[np.generic]]:
    found = {name: np.array([sample[name] for sample in given]) for name in ("rgb", "codes", "shape")}
    texts = np.array([sample["caption"] for sample in given])
    return {"id": np.array([sample["id"] for sample in given]), **found, "caption": texts}


def imported(
    path: str | Path,
    to: Path,
    settings: ImportSettings | None = None,
    schema: Schema = SCHEMA,
    missing: Missing = "error",
    format: str | None = None,
) -> ImportReport:
    """Import a path as the command line does."""
    reading = Reading(schema, frozenset(schema.modalities), missing)
    return import_source(to, schema, open_source(path, reading, format), settings)


def stored(path: Path) -> dict[str, Sample]:
    """What a dataset holds, by the ids of the samples; arrays as flat lists."""
    table = Dataset.open(path).arrow.to_table()
    names = [name for name in table.column_names if name not in ("id", "sample")]
    return {row["id"]: {name: row[name] for name in names} for row in table.to_pylist()}


def flat(sample: Sample) -> Sample:
    """A sample as `stored` gives it."""
    return {
        name: np.asarray(value).reshape(-1).tolist() if isinstance(value, np.ndarray) else value
        for name, value in sample.items()
        if name != "id"
    }
