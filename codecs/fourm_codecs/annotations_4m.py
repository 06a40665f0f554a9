"""What 4M's annotation files hold, as records: for data that was prepared for the released code.

A crop is the part of a picture that a sample shows. Boxes move with it as the released code has it: they are
cut at its border, and dropped where nothing of them is left.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from fourm_codecs.base import Record

Json = Mapping[str, Any]
Point = tuple[int, int]


@attrs.frozen
class Crop:
    """The part of a picture that a sample shows, in pixels of the picture.

    Attributes:
        picture: height and width of the picture.
        top, left, height, width: of the part.
    """

    picture: tuple[int, int]
    top: int
    left: int
    height: int
    width: int

    def box(self, corners: Sequence[float]) -> tuple[float, float, float, float]:
        """Corners in parts of the picture, as parts of the crop; outside it, below 0 or above 1."""
        rows, columns = self.picture
        x0, y0, x1, y1 = corners
        return (
            (x0 * columns - self.left) / self.width,
            (y0 * rows - self.top) / self.height,
            (x1 * columns - self.left) / self.width,
            (y1 * rows - self.top) / self.height,
        )


def detection_records(
    content: Json,
    crop: Crop,
    *,
    mirrored: bool = False,
    min_score: float = 0.6,
    min_visibility: float = 0.0,
    order: Literal["distance_to_origin", "area", "score"] = "distance_to_origin",
    most: int | None = None,
) -> list[Record]:
    """The boxes of `{"instances": [{"boxes": [...], "class_name": ..., "score": ...}]}`.

    Args:
        content: of the file.
        crop: what the sample shows.
        mirrored: the crop is turned left to right.
        min_score: least score of a box that is kept.
        min_visibility: least part of a box that lies within the crop.
        order: nearest the origin first, or largest, or surest.
        most: boxes that are kept at most, in that order.
    """
    kept: list[tuple[float, Record]] = []
    for instance in content["instances"]:
        if instance["score"] < min_score:
            continue
        whole = crop.box(instance["boxes"])
        x0, y0, x1, y1 = (min(max(corner, 0.0), 1.0) for corner in whole)
        area = (x1 - x0) * (y1 - y0)
        if not area or area / _area(whole) < min_visibility:
            continue
        if mirrored:
            x0, x1 = 1 - x1, 1 - x0
        rank = {"distance_to_origin": x0**2 + y0**2, "area": -area, "score": -instance["score"]}[order]
        kept.append((rank, {"box": [x0, y0, x1, y1], "label": instance["class_name"]}))
    kept.sort(key=lambda pair: pair[0])
    return [record for _, record in kept][:most]


def pose_records(content: Json, crop: Crop) -> list[Record]:
    """The persons of a file of human poses; 4M does not mirror them."""
    if not content:
        return []
    rows, columns = crop.picture
    found: list[Record] = []
    body = content["pred_smpl_params"]
    for number, ((x0, y0, x1, y1),) in enumerate(content["bbox_xyxy"]):
        shares = (x0 / columns, y0 / rows, x1 / columns, y1 / rows)
        box = [min(max(corner, 0.0), 1.0) for corner in crop.box(shares)]
        if not _area(box):
            continue
        turn = [float(n) for row in body["global_orient"][number][0] for n in row]
        found.append(
            {
                "box": box,
                "pose": [float(code) for code in content["pose_tokenized"][number][0]],
                "global": turn,
                "camera": list(content["pred_cam"][number][0]),
                "shape": list(body["betas"][number]),
            }
        )
    return found


def palette_records(content: Sequence[Json], colours: int) -> list[Record]:
    """The palette of so many colours, 1 to 7; 4M draws how many each time."""
    return [{"color": [float(channel) for channel in colour]} for colour in content[0][str(colours)]]


def instance_records(
    contours: Sequence[Sequence[Point]],
    codes: Sequence[Sequence[int]],
    boxes: Sequence[Sequence[float]],
    points: Sequence[Point],
) -> list[Record]:
    """The instances that each of some points lies in.

    Args:
        contours: of the instances, (x, y) in pixels of 224.
        codes: of their masks.
        boxes: ymin, xmin, ymax, xmax of each.
        points: (x, y) of what is asked for.
    """
    found: list[Record] = []
    for x, y in points:
        here: Record = {"point": [float(x), float(y)]}
        hits: list[Record] = []
        for contour, mask, (y0, x0, y1, x1) in zip(contours, codes, boxes, strict=True):
            if is_within(contour, (x, y)):
                corners = [float(corner) for corner in (x0, y0, x1, y1)]
                hits.append({**here, "polygon": corners, "codes": [float(code) for code in mask]})
        found += hits or [{**here, "polygon": None, "codes": None}]
    return found


def is_within(contour: Sequence[Point], point: Point) -> bool:
    """Whether a point lies within a polygon, or on its border."""
    x, y = point
    inside = False
    x0, y0 = contour[-1]
    for x1, y1 in contour:
        turn = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        if turn == 0 and min(x0, x1) <= x <= max(x0, x1) and min(y0, y1) <= y <= max(y0, y1):
            return True
        if (y0 > y) != (y1 > y) and (turn > 0) == (y1 > y0):
            inside = not inside
        x0, y0 = x1, y1
    return inside


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
