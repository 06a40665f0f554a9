"""COCO's JSON: pictures with boxes, instances, keypoints and captions; class maps as pictures in a folder.

    annotations/instances_val2017.json          images, boxes, shapes
    annotations/captions_val2017.json           read along, if it is there
    annotations/person_keypoints_val2017.json   read along, if it is there
    val2017/000000000139.jpg                    pictures

What a modality takes follows from its kind: an image of three channels the picture, a text the captions, a
set the annotations; another image a folder of its name. Only where each item lies is held in memory.
"""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import attrs
import numpy as np
from numpy.typing import NDArray

from fourm_runtime.data.importing.sources.coco_class_maps import (
    ClassMaps,
    class_maps,
    is_named,
    listed_categories,
)
from fourm_runtime.data.importing.sources.coco_records import (
    Category,
    declares,
    lacked_classes,
    record_of_annotation,
    wants_points,
)
from fourm_runtime.data.importing.sources.decoding import endings_of, read_value
from fourm_runtime.data.importing.sources.folders import files_by_key
from fourm_runtime.data.importing.sources.json_arrays import JsonArrays
from fourm_runtime.data.importing.sources.source import (
    Reading,
    Source,
    absences,
    mismatch,
    names_outside,
    unknown_modality,
)
from fourm_runtime.data.rows import LocatedRow
from fourm_schema.errors import DataError
from fourm_schema.modality import Image, Set, Text

_KINDS = (("captions", "caption"), ("keypoints", "keypoints"))
_BESIDE = ("instances", "captions", "person_keypoints")


@attrs.frozen(eq=False)
class Annotations:
    """The annotations of one file, by picture.

    Attributes:
        file: it.
        images: (N,) numbers of pictures, ascending.
        spots: (N, 2) where the annotation of each lies.
        categories: by number.
        counts: (number of the category, whether it is a crowd) -> annotations of all pictures.
    """

    file: JsonArrays
    images: NDArray[np.int64]
    spots: NDArray[np.int64]
    categories: Mapping[int, Category]
    counts: Mapping[tuple[int, bool], int]

    def of(self, image: int) -> list[dict[str, object]]:
        """The annotations of a picture, in the order of the file."""
        first, last = np.searchsorted(self.images, [image, image + 1])
        return [self.file.read((int(a), int(b))) for a, b in self.spots[first:last]]


class Coco(Source):
    """Pictures of COCO's JSON, one row each, in the order of the file.

    Args:
        place: what to call it.
        files: annotation files that are read.
        images: where the record of each picture lies in the first of them.
        annotations: "instances", "captions", "keypoints" -> those of them that there are.
        folders: modality -> key of a picture -> file.
        maps: modality -> how its class maps are read, where their cells are numbers of categories.
        lists: files that only list categories.
        reading: how to read.
    """

    def __init__(
        self,
        place: str,
        files: Sequence[JsonArrays],
        images: NDArray[np.int64],
        annotations: Mapping[str, Annotations],
        folders: Mapping[str, Mapping[str, Path]],
        maps: Mapping[str, ClassMaps],
        lists: Sequence[Path],
        pictures: Path | None,
        reading: Reading,
    ) -> None:
        super().__init__(place, [*(file.path for file in files), *lists])
        self._file, self._images = files[0], images
        self._annotations, self._folders, self._pictures = annotations, folders, pictures
        self._maps = maps
        self._entries = {
            name: entry
            for name, entry in reading.schema.modalities.items()
            if name in reading.wanted and entry.derive is None
        }
        self._check_folders(reading.missing)

    def __len__(self) -> int:
        return len(self._images)

    def row(self, index: int) -> LocatedRow:
        about = self._file.read(self._spot(index))
        name, number = about.get("file_name"), about.get("id")
        place = f"{self.place} image {number}"
        height, width = about.get("height"), about.get("width")
        if not isinstance(name, str) or not isinstance(number, int):
            raise DataError(place, "an image has an id and a file_name", got=str(about)[:80])
        if not isinstance(height, int) or not isinstance(width, int) or min(height, width) < 1:
            raise DataError(place, "an image has a height and a width", got=f"{height} x {width}")
        row = LocatedRow({"id": Path(name).with_suffix("").as_posix()}, place=f"{place} ({name})")
        for modality, entry in self._entries.items():
            where = f"{place}, {modality}"
            if isinstance(entry, Set):
                records = self._records(entry, number, (height, width), where)
                if records is not None:
                    row[modality] = records
            elif isinstance(entry, Text):
                texts = self._captions(number)
                if texts:
                    # A few pictures have more captions than all others; the schema says how many count.
                    row[modality] = texts[: entry.views]
            elif modality in self._folders:
                key = Path(name).with_suffix("").as_posix()
                file, maps = self._folders[modality].get(key), self._maps.get(modality)
                if file is not None:
                    row[modality] = read_value(file, entry, where) if maps is None else maps.read(file, where)
            elif self._pictures is not None and isinstance(entry, Image) and entry.channels == 3:
                row[modality] = read_value(self._pictures / name, entry, where)
        return row

    def _records(
        self, entry: Set, image: int, picture: tuple[int, int], where: str
    ) -> list[dict[str, object]] | None:
        held = annotations_for(entry, self._annotations)
        if held is None:
            return None
        records = list[tuple[float, dict[str, object]]]()
        for annotation in held.of(image):
            if annotation.get("iscrowd"):
                continue
            category = _category(held, annotation, where)
            if not declares(entry, category) or (wants_points(entry) and not annotation.get("num_keypoints")):
                continue
            place = f"{where}, annotation {annotation.get('id')}"
            record = record_of_annotation(entry, annotation, category, picture, place)
            area = annotation.get("area")
            records.append((float(area) if isinstance(area, int | float) else 0.0, record))
        if len(records) > entry.max_items and entry.out_of_range == "clip":
            kept = sorted(range(len(records)), key=lambda n: -records[n][0])[: entry.max_items]
            records = [records[number] for number in sorted(kept)]
        return [record for _, record in records]

    def _captions(self, image: int) -> list[str]:
        held = self._annotations.get("captions")
        found = [] if held is None else [item.get("caption") for item in held.of(image)]
        return [" ".join(text.split()) for text in found if isinstance(text, str) and text.strip()]

    def _spot(self, index: int) -> tuple[int, int]:
        start, end = self._images[index]
        return int(start), int(end)

    def _check_folders(self, missing: str) -> None:
        if not self._folders:
            return
        keys = [
            Path(str(self._file.read(self._spot(index)).get("file_name"))).with_suffix("").as_posix()
            for index in range(len(self))
        ]
        lacking = {name: [k for k in keys if k not in files] for name, files in self._folders.items()}
        if any(lacking.values()):
            if missing == "error":
                raise mismatch(self.place, lacking, len(keys))
            self.notes += [
                f"{name} lacks {len(gone):,} of the samples" for name, gone in lacking.items() if gone
            ]


def open_coco(path: Path, reading: Reading) -> Source:
    """Open a JSON file of COCO, and those of the same split beside it.

    Raises:
        DataError: if it is damaged, or the pictures are not found.
    """
    unknown_modality(reading, reading.places)
    paths = _siblings(path)
    files = [JsonArrays(file) for file in paths]
    images, annotations = np.zeros((0, 2), np.int64), dict[str, Annotations]()
    named = list[tuple[Path, Mapping[int, str]]]()
    for number, file in enumerate(files):
        spots, kind, found = _index(file)
        named.append((file.path, {n: category.name for n, category in found.categories.items()}))
        if not number:
            images = spots
        if kind:
            annotations.setdefault(kind, found)
    if not len(images):
        raise DataError(
            str(path), "has no images", mend='COCO\'s JSON is {"images": [...], "annotations": [...]}'
        )
    entries = {
        name: reading.schema.modalities[name] for name in reading.schema.modalities if name in reading.wanted
    }
    folders, base, given = dict[str, dict[str, Path]](), path.parent, list[str]()
    pictures: Path | None = None
    for name, entry in entries.items():
        boxed = isinstance(entry, Set) and annotations_for(entry, annotations) is not None
        if boxed or (isinstance(entry, Text) and "captions" in annotations):
            given.append(name)
        elif isinstance(entry, Image) and entry.derive is None:
            beside = [
                top / outer for outer in names_outside(reading.schema, name) for top in (base, base.parent)
            ]
            folder = reading.places.get(name) or next((place for place in beside if place.is_dir()), None)
            if entry.channels == 3 and entry.cell.type == "continuous":
                pictures = _pictures(path, files[0], images, folder)
                given.append(name)
            elif folder is not None:
                folders[name] = files_by_key(folder, endings_of(entry))
                given.append(name)
    if not given:
        raise DataError(str(path), "has nothing for any modality of the schema", got=", ".join(entries))
    to_match = {
        name: entry
        for name in folders
        if isinstance(entry := reading.schema.modalities[name], Image) and is_named(entry)
    }
    maps, notes, lists = dict[str, ClassMaps](), list[str](), list[Path]()
    if to_match:
        listed = listed_categories(path, named)
        lists = [file for file in listed.files if file not in paths]
        for name, entry in to_match.items():
            read = class_maps(name, entry, listed)
            if isinstance(read, ClassMaps):
                maps[name] = read
            notes.append(read.note if isinstance(read, ClassMaps) else read)
    source = Coco(str(path), files, images, annotations, folders, maps, lists, pictures, reading)
    sets = {name: entry for name, entry in entries.items() if name in given and isinstance(entry, Set)}
    source.notes += [*absences(reading, given, [], ""), *notes, *_left_out(sets, annotations)]
    return source


def is_coco(path: Path) -> bool:
    """Whether a JSON file begins as COCO's do."""
    with path.open("rb") as file:
        head = file.read(2**16).lstrip()
    return (
        path.suffix == ".json"
        and head.startswith(b"{")
        and any(key in head for key in (b'"images"', b'"annotations"', b'"licenses"', b'"categories"'))
    )


def annotations_for(entry: Set, annotations: Mapping[str, Annotations]) -> Annotations | None:
    """The annotations that a set is made of: those with keypoints for points, others first for the rest."""
    order = ("keypoints",) if wants_points(entry) else ("instances", "keypoints")
    return next((annotations[kind] for kind in order if kind in annotations), None)


def _left_out(sets: Mapping[str, Set], annotations: Mapping[str, Annotations]) -> list[str]:
    """Say how many annotations of the files are in no sample: those of classes unknown, and crowds."""
    told = dict[str, list[str]]()
    for name, entry in sets.items():
        held = annotations_for(entry, annotations)
        assert held is not None, "sets without annotations are not given"
        lacked = lacked_classes(entry, held.categories, held.counts)
        crowds = sum(count for (_, crowd), count in held.counts.items() if crowd)
        file = held.file.path.name
        if lacked:
            most = ", ".join(f"{label} {count:,}" for label, count in lacked.most_common(6))
            what = f"objects of {len(lacked)} classes that the schema lacks"
            more = ", ..." if len(lacked) > 6 else ""
            told.setdefault(f"{what}, {lacked.total():,} in {file} ({most}{more})", []).append(name)
        if crowds:
            told.setdefault(f"crowd regions, {crowds:,} in {file}", []).append(name)
    return [f"left out of {', '.join(names)}: {what}" for what, names in told.items()]


def _siblings(path: Path) -> list[Path]:
    """The file, and those beside it that annotate the same pictures."""
    split = next((path.name.removeprefix(kind) for kind in _BESIDE if path.name.startswith(kind)), None)
    others = [] if split is None else [path.with_name(kind + split) for kind in _BESIDE]
    return [path, *(other for other in others if other != path and other.is_file())]


def _index(file: JsonArrays) -> tuple[NDArray[np.int64], str, Annotations]:
    """Where pictures lie, what kind of annotations the file has, and where these lie."""
    images, owners, spots, counts = array("q"), array("q"), array("q"), Counter[tuple[int, bool]]()
    categories, kind = dict[int, dict[str, object]](), ""
    for key, spot in file.items():
        if key == "images":
            images.extend(spot)
        elif key == "annotations":
            item = file.read(spot)
            if not kind:
                kind = (
                    "captions" if "caption" in item else "keypoints" if "keypoints" in item else "instances"
                )
            owner = item.get("image_id")
            if not isinstance(owner, int):
                where = f"{file.path} annotation {item.get('id')}"
                raise DataError(where, "an annotation has the image_id of a picture", got=str(owner))
            owners.append(owner)
            spots.extend(spot)
            category = item.get("category_id")
            if isinstance(category, int):
                counts[category, bool(item.get("iscrowd"))] += 1
        elif key == "categories":
            item = file.read(spot)
            if isinstance(item.get("id"), int):
                categories[cast("int", item["id"])] = item
    named = {
        number: Category(
            str(categories[number].get("name")), place, _names(categories[number].get("keypoints"))
        )
        for place, number in enumerate(sorted(categories))
    }
    order = np.argsort(np.array(owners, np.int64), kind="stable")
    places = np.array(spots, np.int64).reshape(-1, 2)[order]
    found = Annotations(file, np.array(owners, np.int64)[order], places, named, counts)
    if not kind and named:
        kind = "keypoints" if any(category.keypoints for category in named.values()) else "instances"
    return np.array(images, np.int64).reshape(-1, 2), kind, found


def _names(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _category(held: Annotations, annotation: Mapping[str, object], where: str) -> Category:
    number = annotation.get("category_id")
    category = held.categories.get(number) if isinstance(number, int) else None
    if category is None:
        place = f"{where}, annotation {annotation.get('id')}"
        raise DataError(place, "names a category that the file does not list", got=str(number))
    return category


def _pictures(path: Path, file: JsonArrays, images: NDArray[np.int64], told: Path | None) -> Path:
    """The folder that holds the pictures: the one that was told, or one in which the first is found."""
    start, end = images[0]
    first = str(file.read((int(start), int(end))).get("file_name"))
    split = path.stem.rpartition("_")[2]
    tops = (path.parent, path.parent.parent)
    guesses = [top / inside for top in tops for inside in (split, "images", f"images/{split}", ".")]
    tried = [told] if told is not None else guesses
    found = next((folder for folder in tried if (folder / first).is_file()), None)
    if found is None:
        raise DataError(
            str(path),
            f"its first picture {first} is not found",
            got="looked in " + ", ".join(str(folder) for folder in dict.fromkeys(tried)),
            mend="say where the pictures are: --from MODALITY=FOLDER",
        )
    return found
