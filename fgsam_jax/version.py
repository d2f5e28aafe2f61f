"""The version of the package, also written into every checkpoint."""

__version__ = "0.1.0"
