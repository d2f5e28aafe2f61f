"""Which rows make up a batch: pure functions of the seed and the step.

There is no state to save: a resumed run asks for the same step and gets the same rows.
"""

import numpy as np

from fgsam_jax.errors import InputError
from fgsam_jax.metrics import UNLABELLED


def shuffled_rows(rows: int, batch: int, *, seed: int, step: int) -> np.ndarray:
    """Batch number `step` of an endless pass over shuffled epochs of rows // batch steps.

    Args:
      rows: number of rows to draw from; the remainder of an epoch is left out of that epoch.
      batch: rows of a batch.
      seed: of the order.
      step: from 0.

    Returns:
      [batch] int64, distinct.

    Raises:
      InputError: fewer rows than a batch.
    """
    if rows < batch:
        raise InputError(f"a batch of {batch} needs as many images, the training split has {rows}")
    epoch, position = divmod(step, rows // batch)
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order[position * batch : (position + 1) * batch]


class IdentitySampler:
    """P identities with K images each, for triplet mining.

    Attributes:
      people: P.
      images: K; an identity with fewer images gives some of them more than once.
    """

    def __init__(self, identities: np.ndarray, people: int, images: int):
        """`identities` [rows]: rows of negative identity are never drawn.

        Raises:
          InputError: fewer identities than P.
        """
        self.people, self.images = people, images
        known = np.unique(identities[identities > UNLABELLED])
        self._rows = [np.flatnonzero(identities == identity) for identity in known]
        if len(self._rows) < people:
            raise InputError(
                f"batches of {people} people x {images} images need {people} identities, the "
                f"training split has {len(self._rows)}: lower the phase's batch"
            )

    def rows(self, *, seed: int, step: int) -> np.ndarray:
        """Batch number `step`: [P K] int64, the images of one identity side by side."""
        random = np.random.default_rng([seed, step])
        chosen = random.choice(len(self._rows), self.people, replace=False)
        return np.concatenate(
            [
                random.choice(
                    self._rows[identity],
                    self.images,
                    replace=len(self._rows[identity]) < self.images,
                )
                for identity in chosen
            ]
        )
