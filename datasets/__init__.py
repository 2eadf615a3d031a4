"""Datasets and the loader that feeds them to a model."""
