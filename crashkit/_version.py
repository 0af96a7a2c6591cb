"""The version, where nothing else lives: read by the build and by reports."""

__version__ = "0.1.0"
