"""Optimizers, parameter groups, gradient clipping, and averages of weights.

An optimizer is the initial value of its state and the update of one parameter; the base class does
the rest. Parameters and state are updated in place. Step for step they follow PyTorch's formulas.
"""

from .adam import Adam, AdamW
from .adaptive import Adadelta, Adagrad, RMSprop
from .averaging import AveragedModel, ExponentialMovingAverage, update_bn
from .clip import clip_grad_norm, clip_grad_norm_, clip_grad_value_
from .elementwise import Elementwise
from .groups import ParamGroup, no_decay
from .lamb import LAMB
from .lbfgs import LBFGS
from .moments import Adamax, Lion, NAdam, RAdam
from .muon import Muon
from .optimizer import Optimizer
from .rule import Rule
from .scaler import GradScaler
from .sgd import SGD
from .state import State

__all__ = [
    "LAMB",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "AveragedModel",
    "Elementwise",
    "ExponentialMovingAverage",
    "GradScaler",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "ParamGroup",
    "RAdam",
    "RMSprop",
    "Rule",
    "State",
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "no_decay",
    "update_bn",
]
