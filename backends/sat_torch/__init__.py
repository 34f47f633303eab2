"""The PyTorch backend of sat-core."""

from sat_torch.backend import TorchBackend
from sat_torch.batch_norm import GlobalBatchNorm
from sat_torch.fit import SubsetAdversarialMixin
from sat_torch.step import SubsetAdversarialStep, WithIndex

__all__ = ["GlobalBatchNorm", "SubsetAdversarialMixin", "SubsetAdversarialStep", "TorchBackend", "WithIndex"]
