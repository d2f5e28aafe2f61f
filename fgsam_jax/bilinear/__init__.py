r"""Compact bilinear pooling by count sketch.

The outer product of two features, averaged over positions, is a rich second-order descriptor of
:math:`C_x C_y` numbers. Its count sketch keeps inner products in expectation with a few thousand
(Gao et al.; Pham and Pagh):

.. math::
  \Psi(x)_k = \sum_{i : h(i) = k} s(i) x_i, \qquad
  \Psi(x \otimes y) = \Psi(x) * \Psi(y) = F^{-1}(F \Psi(x) \cdot F \Psi(y))

where the outer product is hashed with :math:`h_x + h_y \bmod d` and :math:`s_x s_y`.

The four methods give the same numbers to float32 rounding; all but the first keep only their
inputs for the backward pass:

- "textbook": transforms and an inverse for every position and part; the reference.
- "fft": the spectrum of x is shared by all parts, positions are summed in the frequency domain,
  and each part takes one inverse. One image after another.
- "gram": the positions are contracted first, in one matrix product, and only its few rows (one
  for each channel of y) are sketched and transformed.
- "roll": as "gram", but each row is rotated by its bin instead of transformed.

Which is fastest depends on the shapes. "gram" wins where y has few channels, since it transforms
one row for each of them and not one for each position.

No signed square root or L2 normalisation is applied here; the model does that.

References:
  Gao et al., "Compact Bilinear Pooling", CVPR 2016.
  Pham and Pagh, "Fast and Scalable Polynomial Kernels via Explicit Feature Maps", KDD 2013.
"""

from fgsam_jax.bilinear.pooling import METHODS, compact_bilinear, compact_bilinear_parts
from fgsam_jax.bilinear.sketch import CountSketch, count_sketch, make_sketch, usual_load

__all__ = [
    "METHODS",
    "CountSketch",
    "compact_bilinear",
    "compact_bilinear_parts",
    "count_sketch",
    "make_sketch",
    "usual_load",
]
