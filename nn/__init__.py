"""Neural networks on top of the engine: layers, losses, optimizers, schedules, training."""

from . import init, metrics, models, optim, schedules
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
from .module import Module, Parameter, Sequential

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
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
    "Tanh",
    "init",
    "metrics",
    "models",
    "optim",
    "schedules",
]
