"""One step of training and one of embedding: pure functions, and the one place that pmaps them."""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict

from fgsam_jax.data.augment import random_flip
from fgsam_jax.models.fgsam import Outputs, descriptor
from fgsam_jax.objective import Terms

AXIS = "devices"


class TrainState(struct.PyTreeNode):
    """All that changes in training, and all that a checkpoint must hold.

    Attributes:
      step: steps taken in this phase.
      params: parameters that are trained.
      frozen: parameters that are not; no gradient is computed for them.
      batch_stats: running means and variances.
      constants: the sketch tables.
      opt_state: of the optimiser, for `params` alone.
    """

    step: jax.Array
    params: Any
    frozen: Any
    batch_stats: Any
    constants: Any
    opt_state: Any

    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {
            "params": merge(self.params, self.frozen),
            "batch_stats": self.batch_stats,
            "constants": self.constants,
        }


def partition(tree: dict, chosen: Callable[[tuple[str, ...]], bool]) -> tuple[dict, dict]:
    """Split nested dictionaries by the path of each leaf: (chosen, the others)."""
    leaves = flatten_dict(tree)
    picked = {path: leaf for path, leaf in leaves.items() if chosen(path)}
    rest = {path: leaf for path, leaf in leaves.items() if path not in picked}
    return unflatten_dict(picked), unflatten_dict(rest)


def merge(first: dict, second: dict) -> dict:
    """The inverse of `partition`."""
    return unflatten_dict({**flatten_dict(first), **flatten_dict(second)})


def train_step(
    state: TrainState,
    batch: dict[str, Any],
    key: jax.Array,
    *,
    model: nn.Module,
    objective: Callable[[Outputs, dict[str, Any]], Terms],
    optimizer: optax.GradientTransformation,
    flip: bool = True,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update. With `axis_name`, this device's share of the batch; the result is the same
    on all devices.

    Args:
      state: before.
      batch: "image" uint8 [batch, height, width, 3] and what the objective needs.
      key: of the phase; the step's own key is folded in.
      model: gives `Outputs`; its batch statistics and mining use the same axis.
      objective: outputs and batch to terms.
      optimizer: made for `state.params`.
      flip: mirror examples at random.
      axis_name: of the devices.

    Returns:
      The state after, and as scalars every term, every sign, the "total" of the terms, and
      whether it and the new state are "finite".
    """
    if flip:
        batch = random_flip(jax.random.fold_in(key, state.step), batch, axis_name=axis_name)

    def total(params: Any) -> tuple[jax.Array, tuple[Terms, Any]]:
        variables = state.replace(params=params).variables()
        outputs, updates = model.apply(
            variables, batch["image"], train=True, mutable=["batch_stats"]
        )
        terms = objective(outputs, batch)
        return sum(terms.losses.values(), start=jnp.zeros(())), (terms, updates)

    (loss, (terms, updates)), gradients = jax.value_and_grad(total, has_aux=True)(state.params)
    metrics = {**terms.losses, **terms.signs, "total": loss}
    if axis_name is not None:
        gradients, metrics = jax.lax.pmean((gradients, metrics), axis_name)
    changes, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    after = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, changes),
        batch_stats=updates.get("batch_stats", {}),
        opt_state=opt_state,
    )
    finite = [jnp.isfinite(x).all() for x in jax.tree.leaves((after.params, after.batch_stats))]
    return after, {**metrics, "finite": jnp.stack(finite).all() & jnp.isfinite(metrics["total"])}


def forward(model: nn.Module, variables: dict[str, Any], images: jax.Array) -> Outputs:
    """The model's outputs with the running statistics, for uint8 [batch, height, width, 3]."""
    return cast(Outputs, model.apply(variables, images))


def embed_step(variables: dict[str, Any], images: jax.Array, *, model: nn.Module) -> dict[str, Any]:
    """Descriptors and attribute answers of images, with the running statistics.

    Args:
      variables: of the model.
      images: uint8 [batch, height, width, 3].
      model: gives `Outputs`.

    Returns:
      "descriptor" [batch, dim] of length 1, "plenary" [batch, dim] of length 1, and
      "attributes": {name: [batch] int, the most likely class}.
    """
    outputs = forward(model, variables, images)
    plenary = {"plenary": outputs.embeddings["plenary"]}
    return {
        "descriptor": descriptor(outputs.embeddings),
        "plenary": descriptor(plenary),
        "attributes": {name: jnp.argmax(x, -1) for name, x in outputs.attributes.items()},
    }


def parallel_train_step(devices: list[jax.Device] | None = None, **arguments: Any) -> Callable:
    """`train_step` over devices: (state, batch, key), batch leaves [devices, batch / devices, ...].

    The state goes in and comes out once, without a device axis; its old buffers are reused.
    """

    def step(state: TrainState, batch: dict[str, Any], key: jax.Array):
        return train_step(state, batch, key, axis_name=AXIS, **arguments)

    return jax.pmap(
        step, AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=0, devices=devices
    )


def replicate(tree: Any, devices: list[jax.Device] | None = None) -> Any:
    """Put a state on all devices, as `parallel_train_step` gives it back.

    Without this the step would be compiled a second time, for its own output.
    """
    mesh = jax.sharding.Mesh(np.array(devices or jax.local_devices()), (AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


@cache
def parallel_embed_step(model: nn.Module) -> Callable:
    """`embed_step` over devices: (variables, images [devices, batch / devices, ...]).

    The devices are this process's own. Equal models share one compiled program.
    """

    def step(variables: dict[str, Any], images: jax.Array):
        return embed_step(variables, images, model=model)

    return jax.pmap(step, AXIS, in_axes=(None, 0), devices=jax.local_devices())
