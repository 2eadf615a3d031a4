"""Optimizers: SGD, Adam, AdamW, and gradient clipping.

An optimizer is the initial value of its state and the update of one parameter; the base class does
the rest. Parameters and state are updated in place. Step for step they follow PyTorch's formulas.
"""

from .adam import Adam, AdamW
from .clip import clip_grad_norm
from .optimizer import Optimizer
from .sgd import SGD
from .state import State

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "State", "clip_grad_norm"]
