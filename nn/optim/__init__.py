"""Optimizers: SGD, Adam, AdamW, and gradient clipping."""

from .adam import SGD, Adam, AdamW, clip_grad_norm
from .optimizer import Optimizer
from .state import State

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "State", "clip_grad_norm"]
