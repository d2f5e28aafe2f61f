"""One update or several in one program: pure functions, and the one pmap over them."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from fgsam_jax.data.augment import random_flip
from fgsam_jax.models.conv import keep_products
from fgsam_jax.models.fgsam import Outputs
from fgsam_jax.objective import Terms
from fgsam_jax.runtime.distributed import AXIS
from fgsam_jax.training.gradients import pieced_gradients, whole_gradients
from fgsam_jax.training.state import TrainState


def train_step(
    state: TrainState,
    batch: dict[str, Any],
    key: jax.Array,
    *,
    model: nn.Module,
    objective: Callable[[Outputs, dict[str, Any]], Terms],
    optimizer: optax.GradientTransformation,
    flip: bool = True,
    accumulate: int = 1,
    remat: bool = False,
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
      accumulate: pieces of the batch that go through the model one after the other, see
        `pieced_gradients`.
      remat: keep of the forward pass only what products and convolutions give, and compute the
        rest again for the gradients.
      axis_name: of the devices.

    Returns:
      The state after, and as scalars every loss, every metric and the "total" of the terms.
    """
    if flip:
        batch = random_flip(jax.random.fold_in(key, state.step), batch, axis_name=axis_name)

    def apply(params: Any, stats: Any, images: jax.Array) -> tuple[Outputs, Any]:
        variables = state.replace(params=params, batch_stats=stats).variables()
        outputs, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return cast(Outputs, outputs), updates.get("batch_stats", {})

    def total(outputs: Outputs) -> tuple[jax.Array, Terms]:
        terms = objective(outputs, batch)
        return sum(terms.losses.values(), start=jnp.zeros(())), terms

    if remat:
        apply = jax.checkpoint(apply, policy=keep_products)
    find = partial(pieced_gradients, pieces=accumulate) if accumulate > 1 else whole_gradients
    loss, terms, stats, gradients = find(
        apply, total, state.params, state.batch_stats, batch["image"]
    )
    metrics = {**terms.losses, **terms.metrics, "total": loss}
    if axis_name is not None:
        gradients, metrics = jax.lax.pmean((gradients, metrics), axis_name)
    changes, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    after = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, changes),
        batch_stats=stats,
        opt_state=opt_state,
    )
    return after, metrics


def train_steps(
    state: TrainState,
    columns: dict[str, Any],
    batches: Any,
    count: jax.Array | int,
    key: jax.Array,
    *,
    dtype: Any = jnp.float32,
    **arguments: Any,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Several updates in one program.

    Args:
      state: before.
      columns: what batches are gathered from, or empty.
      batches: rows of the columns [length, batch], or where these are empty the batches themselves,
        leaves [length, batch, ...].
      count: of updates, at most `length`.
      key: of the phase.
      dtype: in which the model computes: frozen parameters are cast to it once, not in every step.
      **arguments: of `train_step`.

    Returns:
      The state after, and the metrics of each update, [length]; those after `count` mean nothing.
    """
    length = jax.tree.leaves(batches)[0].shape[0]

    def batch(index: jax.Array | int) -> dict[str, Any]:
        if columns:
            return jax.tree.map(lambda column: column[batches[index]], columns)
        return jax.tree.map(lambda x: x[index], batches)

    def step(state: TrainState, index: jax.Array | int) -> tuple[TrainState, jax.Array]:
        after, metrics = train_step(state.replace(frozen=cast), batch(index), key, **arguments)
        names[:] = metrics
        return after.replace(frozen=state.frozen), jnp.stack(list(metrics.values()))

    names: list[str] = []
    cast = jax.tree.map(lambda x: x.astype(dtype), state.frozen)
    if length == 1:  # without a loop, in which XLA uses one core of a CPU
        state, values = step(state, 0)
        history = values[None]
    else:
        step = jax.jit(step)  # traced once for both uses
        shape = jax.eval_shape(step, state, 0)[1]

        def update(index: jax.Array, carry: tuple[TrainState, jax.Array]) -> tuple:
            state, values = step(carry[0], index)
            return state, carry[1].at[index].set(values)

        zeros = jnp.zeros((length, *shape.shape), shape.dtype)
        state, history = jax.lax.fori_loop(0, count, update, (state, zeros))
    return state, dict(zip(names, history.T, strict=True))


@jax.jit
def is_finite(state: TrainState) -> jax.Array:
    """Whether all parameters and statistics are finite: what is not a number stays so."""
    leaves = jax.tree.leaves((state.params, state.batch_stats))
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()


def parallel_train_steps(
    devices: list[jax.Device] | None = None, **arguments: Any
) -> jax.stages.Wrapped:
    """`train_steps` over all devices of all processes: (state, columns, batches, count, key).

    Leaves of the batches are [devices of this process, length, share of a device, ...]. State and
    columns go in once, without a device axis, and so does the state come out; its old buffers are
    reused.
    """

    def steps(state: TrainState, columns: Any, batches: Any, count: Any, key: jax.Array):
        return train_steps(state, columns, batches, count, key, axis_name=AXIS, **arguments)

    return jax.pmap(
        steps,
        AXIS,
        in_axes=(None, None, 0, None, None),
        out_axes=None,
        donate_argnums=0,
        devices=devices,
    )
