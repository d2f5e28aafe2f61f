"""From images to descriptors.

- `embedder`: `fgsam_jax.load` and `Embedder`, what users call.
- `description`: what `Embedder.describe` says of images.
- `inference`: the loop below it, which evaluations share.
"""
