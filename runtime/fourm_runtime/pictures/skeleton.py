"""Which named points of a body belong together, so that a pose can be drawn as a figure.

Names are those of COCO's keypoints (Lin et al. 2014, arXiv 1405.0312), with which most pose data name theirs.
"""

from collections.abc import Sequence

BONES = (
    ("left_ankle", "left_knee"),
    ("left_knee", "left_hip"),
    ("right_ankle", "right_knee"),
    ("right_knee", "right_hip"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
    ("nose", "left_shoulder"),
    ("nose", "right_shoulder"),
)


def bones_of(points: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of points between which a line is drawn: those of a body of which both are declared.

    >>> bones_of(["nose", "left_eye", "tail"])
    [('nose', 'left_eye')]
    """
    return [bone for bone in BONES if set(bone) <= set(points)]
