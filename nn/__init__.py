"""Neural networks on top of the engine: layers, losses, optimizers, schedules, training."""

from . import init, metrics, models, optim, schedules
from .callbacks import Callback, Step, StopTraining
from .history import EpochRecord, History
from .layers import Conv2d, ConvTranspose2d, Dropout, Flatten, Linear
from .layers_activation import (
    ELU,
    GELU,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .layers_norm import BatchNorm1d, BatchNorm2d, LayerNorm
from .layers_pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from .losses import CrossEntropyLoss, MSELoss
from .module import Buffer, Module, Parameter, Sequential
from .trainer import DivergedError, Evaluation, Trainer

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Callback",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "DivergedError",
    "Dropout",
    "EpochRecord",
    "Evaluation",
    "Flatten",
    "History",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "StopTraining",
    "Tanh",
    "Trainer",
    "init",
    "metrics",
    "models",
    "optim",
    "schedules",
]
