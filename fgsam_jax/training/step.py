"""One update or several in one program: pure functions, and the one pmap over them."""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from fgsam_jax.data.augment import augment
from fgsam_jax.models.conv import keep_products
from fgsam_jax.models.outputs import Outputs
from fgsam_jax.objective import Terms
from fgsam_jax.runtime.distributed import AXIS
from fgsam_jax.training.gradients import accumulated_gradients, batch_gradients
from fgsam_jax.training.state import TrainState, Tree, with_average
from fgsam_jax.training.update import Update

Metrics = dict[str, jax.Array]


def train_step(
    state: TrainState,
    batch: Tree,
    key: jax.Array,
    update: Update,
    *,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """One update: augment, forward pass, loss, gradients, optimiser.

    Args:
      state: the training state before.
      batch: "image" uint8 [batch, height, width, 3] and what the objective needs; with `axis_name`
        this device's share of it.
      key: PRNG key of the phase; the step number is folded in.
      update: model, objective, optimiser and options.
      axis_name: the pmap axis over which gradients are averaged.

    Returns:
      The state after, the same on all devices, and a dict of scalars: every loss, every metric and
      their "total".
    """
    step_key = jax.random.fold_in(key, state.step)
    batch = augment(
        step_key,
        batch,
        flip=update.flip,
        pad=update.pad,
        erase=update.erase,
        axis_name=axis_name,
    )
    how: Any = {"train": True} | ({"freeze_backbone": True} if update.freeze_backbone else {})

    def apply(params: Tree, stats: Tree, images: jax.Array) -> tuple[Outputs, Tree]:
        variables = state.replace(params=params, batch_stats=stats).variables()
        outputs, updates = update.model.apply(variables, images, mutable=["batch_stats"], **how)
        return cast(Outputs, outputs), updates.get("batch_stats", {})

    def total(outputs: Outputs) -> tuple[jax.Array, Terms]:
        terms = update.objective(outputs, batch)
        return sum(terms.losses.values(), start=jnp.zeros(())), terms

    if update.remat:
        apply = jax.checkpoint(apply, policy=keep_products)
    grad_fn = batch_gradients
    if update.accumulate > 1:
        grad_fn = partial(accumulated_gradients, micro_batches=update.accumulate)
    loss, terms, stats, gradients = grad_fn(
        apply, total, state.params, state.batch_stats, batch["image"]
    )
    metrics = {**terms.losses, **terms.metrics, "total": loss}
    if axis_name is not None:
        gradients, metrics = jax.lax.pmean((gradients, metrics), axis_name)
    changes, opt_state = update.optimizer.update(gradients, state.opt_state, state.params)
    after = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, changes),
        batch_stats=stats,
        opt_state=opt_state,
    )
    return with_average(after, update.ema), metrics


def train_steps(
    state: TrainState,
    columns: Tree,
    batches: Tree | jax.Array,
    count: jax.Array | int,
    key: jax.Array,
    update: Update,
    *,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Several updates in one program.

    Args:
      state: the training state before.
      columns: the training set's arrays, resident on the device, or empty.
      batches: indices into the columns, [length, batch]; where these are empty the batches
        themselves, leaves [length, batch, ...].
      count: number of updates, at most `length`.
      key: PRNG key of the phase.
      update: model, objective, optimiser and options.
      axis_name: the pmap axis.

    Returns:
      The state after, and the metrics of each update, [length], undefined after
      `count`.
    """
    length = jax.tree.leaves(batches)[0].shape[0]

    def batch(index: jax.Array | int) -> Tree:
        chosen = jax.tree.map(lambda x: x[index], batches)
        return jax.tree.map(lambda column: column[chosen], columns) if columns else chosen

    def step(state: TrainState, index: jax.Array | int) -> tuple[TrainState, jax.Array]:
        after, metrics = train_step(
            state.replace(frozen=frozen), batch(index), key, update, axis_name=axis_name
        )
        names[:] = metrics
        return after.replace(frozen=state.frozen), jnp.stack(list(metrics.values()))

    names: list[str] = []
    frozen = jax.tree.map(lambda x: x.astype(update.dtype), state.frozen)
    if length == 1:  # without a loop, in which XLA uses one core of a CPU
        state, values = step(state, 0)
        history = values[None]
    else:
        step = jax.jit(step)  # traced once for both uses
        shape = jax.eval_shape(step, state, 0)[1]

        def advance(
            index: jax.Array, carry: tuple[TrainState, jax.Array]
        ) -> tuple[TrainState, jax.Array]:
            state, values = step(carry[0], index)
            return state, carry[1].at[index].set(values)

        zeros = jnp.zeros((length, *shape.shape), shape.dtype)
        state, history = jax.lax.fori_loop(0, count, advance, (state, zeros))
    return state, dict(zip(names, history.T, strict=True))


@jax.jit
def is_finite(state: TrainState) -> jax.Array:
    """Whether all parameters and statistics are finite; as NaN persists, asked once an epoch."""
    leaves = jax.tree.leaves((state.params, state.batch_stats))
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()


def parallel_train_steps(
    update: Update, devices: list[jax.Device] | None = None
) -> jax.stages.Wrapped:
    """`train_steps` over all devices of all processes: (state, columns, batches, count, key).

    Leaves of the batches are [local devices, length, batch per device, ...]. State and columns have
    no device axis. The state's buffers are donated.
    """
    return jax.pmap(
        partial(train_steps, update=update, axis_name=AXIS),
        AXIS,
        in_axes=(None, None, 0, None, None),
        out_axes=None,
        donate_argnums=0,
        devices=devices,
    )
