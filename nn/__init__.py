"""Neural network layers, optimizers and training on top of the engine."""
