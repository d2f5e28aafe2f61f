"""From images to descriptors, and from descriptors to answers.

- `embedder`: `fgsam_jax.load` and `Embedder`, what users call.
- `description`: what `Embedder.describe` says of images.
- `gallery`: `fgsam_jax.Gallery`, crops to search and filter; `stores`: where its rows lie;
  `opened`: a gallery with its model.
- `crop_lists`, `indexing`: the crops that a user names, and how they come into a gallery.
- `inference`: the loop below it, which evaluations share.
- `joints`: the joints that a trained pose net finds.
- `rerank`: k-reciprocal re-ranking of descriptors.
- `expansion`: average and alpha query expansion.
"""
