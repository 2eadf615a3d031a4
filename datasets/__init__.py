"""Datasets and the loader that feeds them to a model."""

from tinygrad_cupy.backend.cache import cache_dir

from .catalog import FallbackWarning, load
from .dataset import ArrayDataset, DataError
from .download import DownloadError, UnreachableError
from .loader import DataLoader
from .mnist_files import find_mnist, mnist
from .picture_folder import image_folder
from .png import write_png_folders
from .uci_digits import digits

__all__ = [
    "ArrayDataset",
    "DataError",
    "DataLoader",
    "DownloadError",
    "FallbackWarning",
    "UnreachableError",
    "cache_dir",
    "digits",
    "find_mnist",
    "image_folder",
    "load",
    "mnist",
    "write_png_folders",
]
