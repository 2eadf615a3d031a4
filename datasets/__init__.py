"""Datasets and the loader that feeds them to a model."""

from tinygrad_cupy.backend.cache import cache_dir

from .catalog import FallbackWarning, load
from .collate import stack
from .dataset import ArrayDataset, DataError
from .download import DownloadError, UnreachableError
from .loader import DataLoader
from .mnist_files import find_mnist, mnist
from .picture_folder import image_folder
from .png import write_png_folders
from .samplers import WeightedSampler
from .uci_digits import digits
from .workers import SampleError, WorkerError

__all__ = [
    "ArrayDataset",
    "DataError",
    "DataLoader",
    "DownloadError",
    "FallbackWarning",
    "SampleError",
    "UnreachableError",
    "WeightedSampler",
    "WorkerError",
    "cache_dir",
    "digits",
    "find_mnist",
    "image_folder",
    "load",
    "mnist",
    "stack",
    "write_png_folders",
]
