"""Datasets and the loader that feeds them to a model."""

from tinygrad_cupy.backend.cache import cache_dir

from .catalog import FallbackWarning, load
from .cifar import cifar10, cifar100
from .collate import default_collate
from .dataset import ArrayDataset, DataError
from .download import DownloadError, UnreachableError
from .fashion import fashion_mnist
from .loader import DataLoader
from .made_up import sine, spiral
from .mnist_files import find_mnist, mnist
from .picture_folder import image_folder
from .png import write_png_folders
from .samplers import WeightedSampler
from .subset import Subset, random_split
from .uci_digits import digits
from .workers import SampleError, WorkerError

__all__ = [
    "ArrayDataset",
    "DataError",
    "DataLoader",
    "DownloadError",
    "FallbackWarning",
    "SampleError",
    "Subset",
    "UnreachableError",
    "WeightedSampler",
    "WorkerError",
    "cache_dir",
    "cifar10",
    "cifar100",
    "default_collate",
    "digits",
    "fashion_mnist",
    "find_mnist",
    "image_folder",
    "load",
    "mnist",
    "random_split",
    "sine",
    "spiral",
    "write_png_folders",
]
