"""From images to descriptors.

- `embedder`: `fgsam_jax.load` and `Embedder`, what users call.
- `inference`: the loop below it, which evaluations share.
- `joints`: the joints that a trained pose net finds.
"""
