"""An autograd tensor engine for people who compute with CuPy."""
