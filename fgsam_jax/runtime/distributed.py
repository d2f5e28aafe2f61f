"""One run on several processes: how they find each other, and who writes what all can read.

Each process has its own devices and gathers its own part of every batch; all compute the same
state. They share one folder of the run: the first writes, the others read.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from fgsam_jax.errors import InputError
from fgsam_jax.runtime import lost

Found = TypeVar("Found")
_SILENCE = 30  # seconds after which JAX takes a process for lost


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Wait for the other processes, before anything touches a device.

    Args:
      coordinator: address and port of the first process; None lets JAX find the others by what
        SLURM, Kubernetes, Open MPI or a TPU pod say.
      processes: how many there are.
      process: which this is, from 0.

    Raises:
      InputError: the others are not told of, did not come, or have not equally many devices.
    """
    lost.watch()
    # It would catch the signal to end and not pass it on.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX would listen on all addresses of the machine, also for processes on it alone.
    local = coordinator if coordinator and coordinator.startswith("127.") else None
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            coordinator_bind_address=local,
            heartbeat_timeout_seconds=_SILENCE,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(
            f"the processes could not be joined: {reason}. Give --coordinator=host:port, "
            "--num_processes and --process_id, or --distributed under SLURM or Kubernetes"
        ) from None
    local_devices, devices = jax.local_device_count(), jax.device_count()
    if devices != local_devices * jax.process_count():
        raise InputError(
            f"this process has {local_devices} of {devices} devices of {jax.process_count()} "
            "processes: all must have equally many"
        )


def first() -> bool:
    """Whether this process writes the files of the run."""
    # Alone, the answer must not wake the devices.
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def wait(what: str) -> None:
    """Wait until all processes have come to the same point."""
    multihost_utils.sync_global_devices(what)


def all_agree(yes: bool) -> bool:
    """Whether every process says yes; all must ask."""
    return yes if jax.process_count() == 1 else bool(_gathered(yes).all())


def agreed(work: Callable[[], Found]) -> Found:
    """work(), or an InputError in every process if one raises it: none waits for the others."""
    # Alone, the answer must not wake the devices.
    if not jax.distributed.is_initialized() or jax.process_count() == 1:
        return work()
    found, error = None, None
    try:
        found = work()
    except InputError as raised:
        error = raised
    failed = _gathered(error is not None)
    if error is not None:
        raise error
    if failed.any():
        raise InputError(f"process {failed.argmax()} failed: its own message says why")
    return cast(Found, found)


def check_alike(facts: Callable[[], dict[str, str]]) -> None:
    """Refuse processes that would train on different things; all must call it.

    Args:
      facts: gives {what a person calls it: its value in this process}; not asked for by one alone.

    Raises:
      InputError: in every process: a value differs, or one of them could not give it.
    """
    if not jax.distributed.is_initialized():
        return
    mine = json.dumps(agreed(facts)).encode()
    sizes = _gathered(len(mine))
    padded = np.frombuffer(mine.ljust(sizes.max()), np.uint8)
    theirs = [json.loads(text.tobytes()) for text in _gathered(padded)]
    for number, other in enumerate(theirs):
        for name in {**theirs[0], **other}:
            here, there = theirs[0].get(name, "absent"), other.get(name, "absent")
            if here != there:
                raise InputError(
                    f"the processes differ: {name} is {here} in process 0 and {there} in process "
                    f"{number}; give all the same command, data and --workdir"
                )


def digest(tree: Any) -> str:
    """A short name for the values of arrays."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(np.ascontiguousarray(leaf).data)
    return found.hexdigest()[:16]


def _gathered(value: Any) -> np.ndarray:
    return multihost_utils.process_allgather(np.array(value))


AXIS = "devices"


def replicate(tree: Any, devices: list[jax.Device] | None = None) -> Any:
    """Put a state on all devices of this process, as `parallel_train_steps` gives it back.

    Without this the step would be compiled a second time, for its own output.
    """
    mesh = jax.sharding.Mesh(np.array(devices or jax.local_devices()), (AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
