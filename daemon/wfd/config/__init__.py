"""`wfctl.toml` as a frozen struct: what a project may say, what it gets when it says nothing, and where each came from."""

from wfd.config.load import load
from wfd.config.settings import Config

__all__ = ["Config", "load"]
