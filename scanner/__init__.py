"""Find the duplicates of an image–caption training set before a model memorizes them, and rank the risk."""

__version__ = "0.1.0"
