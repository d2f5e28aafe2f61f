"""The state of training: what is trained, what is frozen, and its checkpoints."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict

from fgsam_jax.checkpoint import Checkpoints
from fgsam_jax.config import Phase
from fgsam_jax.models.pose_net import is_parse_block
from fgsam_jax.runtime import distributed

Tree = dict[str, Any]  # nested dictionaries of arrays: variables, or a batch by name


class TrainState(struct.PyTreeNode):
    """All that changes in training, and all that a checkpoint must hold.

    Attributes:
      step: steps taken in this phase.
      params: parameters that are trained.
      frozen: parameters that are not; no gradient is computed for them.
      batch_stats: running means and variances.
      constants: the sketch tables.
      opt_state: of the optimiser, for `params` alone.
      average: moving averages of `params` and `batch_stats` by these names; empty without them.
    """

    step: jax.Array
    params: Tree
    frozen: Tree
    batch_stats: Tree
    constants: Tree
    opt_state: optax.OptState
    average: Tree = struct.field(default_factory=dict)

    def variables(self) -> Tree:
        """What `model.apply` takes."""
        return {
            "params": merge(self.params, self.frozen),
            "batch_stats": self.batch_stats,
            "constants": self.constants,
        }

    def averaged(self) -> "TrainState":
        """The state whose variables are evaluated: the averages, if there are any."""
        return self.replace(**self.average)


def with_average(state: TrainState, decay: float) -> TrainState:
    """A state whose averages have taken its parameters and statistics in; itself for decay 0.

    The decay of step t is min(decay, (1 + t) / (10 + t)), as in TensorFlow's moving average: a new
    average forgets its start soon. Statistics are averaged too, since those of the last batches
    are not those of averaged weights.
    """
    if not decay:
        return state
    kept = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    now = {"params": state.params, "batch_stats": state.batch_stats}
    return state.replace(
        average=jax.tree.map(lambda a, x: a + (1 - kept) * (x - a), state.average, now)
    )


def partition(tree: Tree, chosen: Callable[[tuple[str, ...]], bool]) -> tuple[Tree, Tree]:
    """Split nested dictionaries by the path of each leaf: (chosen, the others)."""
    leaves = flatten_dict(tree)
    picked = {path: leaf for path, leaf in leaves.items() if chosen(path)}
    rest = {path: leaf for path, leaf in leaves.items() if path not in picked}
    return unflatten_dict(picked), unflatten_dict(rest)


def merge(first: Tree, second: Tree) -> Tree:
    """The inverse of `partition`."""
    return unflatten_dict({**flatten_dict(first), **flatten_dict(second)})


def is_trained(phase: Phase) -> Callable[[tuple[str, ...]], bool]:
    """Which parameters a phase trains, by their path.

    The pose phase leaves the channel parse blocks alone: they are learned for re-identification.
    """
    if phase.model == "pose":
        return lambda path: not is_parse_block(path)
    if phase.train_pose == "all":
        return lambda path: True
    if phase.train_pose == "none":
        return lambda path: path[0] != "pose"
    return lambda path: path[0] != "pose" or is_parse_block(path)


def make_state(
    variables: Tree, phase: Phase, optimizer: optax.GradientTransformation
) -> TrainState:
    """A state at step 0 from variables ("params", "batch_stats", "constants")."""
    params, frozen = partition(variables["params"], is_trained(phase))
    average = {"params": params, "batch_stats": variables["batch_stats"]}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        frozen=frozen,
        batch_stats=variables["batch_stats"],
        constants=variables["constants"],
        opt_state=jax.jit(optimizer.init)(params),  # in one program, not one for every weight
        # Copies: a step gives its state's buffers away, each once.
        average=jax.tree.map(jnp.array, average) if phase.optimization.ema else {},
    )


def save_state(checkpoints: Checkpoints, state: TrainState, info: dict, map: float | None) -> None:
    """Write a state as variables, which is all that evaluation needs, and the optimiser's part.

    Where there are averages, these are the variables.

    It is written while the next steps run, see `Checkpoints.save`.
    """
    distributed.agreed(checkpoints.wait)
    state = jax.device_get(state)
    trees = {"variables": state.averaged().variables(), "optimizer": _optimizer_part(state)}
    checkpoints.save(int(state.step), trees, info, map=map)


def resume_state(
    checkpoints: Checkpoints, step: int, state: TrainState, phase: Phase
) -> TrainState:
    """The state of a checkpoint, in the form of another. Raises InputError if it differs.

    Args:
      checkpoints: of the phase.
      step: of the checkpoint.
      state: of the same shapes, or the shapes themselves.
      phase: says which parameters are trained.
    """
    trees = checkpoints.restore(
        step, {"variables": state.variables(), "optimizer": _optimizer_part(state)}
    )
    variables, others = trees["variables"], trees["optimizer"]
    params, frozen = partition(variables["params"], is_trained(phase))
    now = {"params": params, "batch_stats": variables["batch_stats"]}
    trained = others.get("trained", now)
    return TrainState(
        step=others["step"],
        frozen=frozen,
        constants=variables["constants"],
        opt_state=others["state"],
        average=now if state.average else {},
        **trained,
    )


def _optimizer_part(state: TrainState) -> Tree:
    part = {"step": state.step, "state": state.opt_state}
    if state.average:
        part["trained"] = {"params": state.params, "batch_stats": state.batch_stats}
    return part
