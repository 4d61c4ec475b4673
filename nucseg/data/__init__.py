"""Images with what is known about them: generators, packed real datasets and folders of one's own."""

from nucseg.data.loading import available, load_dataset
from nucseg.data.roots import data_root
from nucseg.data.sample import Dataset, Sample
from nucseg.data.windows import windows

__all__ = ["Dataset", "Sample", "available", "data_root", "load_dataset", "windows"]
