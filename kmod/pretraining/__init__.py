"""Masked-LM pretraining on text, for models whose training data are known exactly."""

from .pretrain import Pretrained, pretrain
from .text import read_text
from .vectors import warm_start

__all__ = ["Pretrained", "pretrain", "read_text", "warm_start"]
