"""The PyTorch backend of sat-core."""

from sat_torch.backend import TorchBackend
from sat_torch.step import SubsetAdversarialStep, WithIndex

__all__ = ["SubsetAdversarialStep", "TorchBackend", "WithIndex"]
