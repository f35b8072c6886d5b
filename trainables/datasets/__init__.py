"""Load datasets: each loader returns all samples of one dataset in one array.

:mod:`trainables.data` splits them.
"""

from trainables.datasets.arrays import load_array
from trainables.datasets.digits import load_digits
from trainables.datasets.downloaded import load_downloaded
from trainables.datasets.errors import BadData, Note, Progress
from trainables.datasets.image_folder import load_image_folder
from trainables.datasets.ranges import note_dark, refuse_equal
from trainables.datasets.scaling import Scale, fit
from trainables.datasets.synthetic import DRAW

__all__ = [
    "DRAW",
    "BadData",
    "Note",
    "Progress",
    "Scale",
    "fit",
    "load_array",
    "load_digits",
    "load_downloaded",
    "load_image_folder",
    "note_dark",
    "refuse_equal",
]
