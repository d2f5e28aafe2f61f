"""Compact bilinear pooling in PyTorch, as it is written elsewhere and in the cheap order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def _sketch(x: Any, table: tuple[np.ndarray, np.ndarray], size: int) -> Any:
    """Signed channels added into their bins, [..., channels] to [..., size]."""
    bins, signs = (torch.from_numpy(part.astype(np.int64)) for part in table)
    return x.new_zeros(*x.shape[:-1], size).index_add(-1, bins, x * signs)


def textbook(x: Any, y: Any, *, tables: list, size: int, parts: np.ndarray) -> Any:
    """Transforms and an inverse for every position and part, then the mean over positions."""
    spectrum = torch.fft.rfft(_sketch(x, tables[0], size))
    pooled = []
    for part in torch.from_numpy(parts.astype(np.float32)):
        product = spectrum * torch.fft.rfft(_sketch(y * part, tables[1], size))
        pooled.append(torch.fft.irfft(product, n=size).mean(1))
    return torch.stack(pooled, 1)


def gram(x: Any, y: Any, *, tables: list, size: int, parts: np.ndarray) -> Any:
    """Positions are contracted first; only a row for each channel of y is transformed."""
    rows = _sketch(torch.bmm(y.mT, x) / x.shape[1], tables[0], size)
    rotations = torch.fft.rfft(_sketch(torch.eye(y.shape[-1]), tables[1], size))
    products = torch.fft.rfft(rows) * rotations
    which = torch.from_numpy(parts.astype(np.float32)).to(products.dtype)
    return torch.fft.irfft(torch.einsum("pj,bjf->bpf", which, products), n=size)


METHODS: dict[str, Callable] = {"PyTorch, textbook": textbook, "PyTorch, gram": gram}


def forward(pool: Callable, x: np.ndarray, y: np.ndarray) -> Any:
    with torch.no_grad():
        return pool(torch.from_numpy(x), torch.from_numpy(y))


def forward_backward(pool: Callable, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Any:
    """Gradients of both maps."""
    given = [torch.from_numpy(array).requires_grad_() for array in (x, y)]
    return torch.autograd.grad((pool(*given) * torch.from_numpy(weights)).sum(), given)


def kept_bytes(pool: Callable, x: np.ndarray, y: np.ndarray) -> int:
    """Bytes of the tensors that autograd saves, each memory once."""
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    given = [torch.from_numpy(array).requires_grad_() for array in (x, y)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = pool(*given)
    del result
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
