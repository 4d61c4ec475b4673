"""Images with what is known about them: generators, packed real datasets and folders of one's own."""

from nucseg.data.catalog import dataset_info
from nucseg.data.check import check_dataset
from nucseg.data.folder import from_folder
from nucseg.data.loading import available, load_dataset
from nucseg.data.points_io import read_points
from nucseg.data.roots import data_root
from nucseg.data.sample import Dataset, Sample
from nucseg.data.windows import windows

__all__ = [
    "Dataset",
    "Sample",
    "available",
    "check_dataset",
    "data_root",
    "dataset_info",
    "from_folder",
    "load_dataset",
    "read_points",
    "windows",
]
