"""From images to descriptors.

- `embedder`: `fgsam_jax.load` and `Embedder`, what users call.
- `inference`: the loop below it, which evaluations share.
- `rerank`: k-reciprocal re-ranking of descriptors.
- `expansion`: average and alpha query expansion.
"""
