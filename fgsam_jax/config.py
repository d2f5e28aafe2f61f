"""The configuration: typed dataclasses, a reason beside every default.

A file in configs/ returns a `Config`; `--config.field=value` overrides a field on the command
line, `--config.phases[1].epochs=7` inside a tuple. `[P]` marks a value of the paper, `[D]` a
decision where the paper is silent or contradicts itself.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fgsam_jax.errors import InputError


@dataclass
class Data:
    """The images to re-identify. `{workdir}` in a path stands for the run's folder."""

    name: str = "market1501"  # which builder of fgsam_jax.data reads the source
    source: str = "data/Market-1501-v15.09.15"
    attributes: str = ""  # the attribute file; empty: looked for inside the source
    records: str = "~/.cache/fgsam_jax"  # where converted sets are kept
    height: int = 256  # [D] silent in the paper; the field's usual size
    width: int = 128
    split_seed: int = 0  # draws the splits of a set published without: PETA, people in folders


@dataclass
class PoseData:
    """The images with joints that phase 0 learns from."""

    name: str = "coco_keypoints"  # [P]
    source: str = "data/coco"
    joints: str = ""  # for a re-identification set: a .json, or a folder of joint files
    height: int = 0  # 0: as the images to re-identify; OpenPose's crops are 368x368
    width: int = 0
    sigma: float = 7.0  # pixels; OpenPose's
    split: str = "train"
    stream: bool = False  # decode while training instead of keeping a table; for large sets


@dataclass
class Synthetic:
    """Pedestrians to render before training."""

    folder: str = ""  # gets market1501/ and coco/; empty: nothing is rendered
    seed: int = 0
    train_identities: int = 60
    test_identities: int = 40
    images_per_identity: int = 12
    cameras: int = 6
    height: int = 128
    width: int = 64
    distractors: int = 60
    junk: int = 20
    pose_images: int = 300
    pose_val_images: int = 60


@dataclass
class Model:
    """Sizes of the networks; the defaults are the published ones."""

    backbone: str = "resnet50"  # [P]; see VARIANTS of models/resnet.py and models/osnet.py
    width: int = 64  # channels of a ResNet's first stage
    stem: str = "imagenet"
    last_stride: int = 2  # [D] the plain ResNet; 1 doubles the grid of the fusion, as OSNet has it
    pose_width: float = 1.0
    pose_kernel: int = 7
    parse: bool = True  # channel parse blocks; False is Table V's "without CPB"
    sketch: int = 4096  # [D] noise of an inner product .037; 2048 gives .060
    bilinear: str = "gram"  # same numbers as "fft", a tenth of its time on a CPU
    part_size: int = 256  # [P]
    plenary_size: int = 512  # [P]
    # [D] batch-normalise the embeddings. On the demo's fused features, frozen, mAP with the focal
    # triplet loss is 62.7 with it and 59.3 without, and no branch shrinks (docs/results.md).
    bnneck: bool = True
    dtype: str = "float32"  # "bfloat16" computes in it; parameters and losses stay float32


@dataclass
class Init:
    """Converted weights that training begins with; see tools/convert_weights.py.

    A path, or hf://owner/name/file on the Hugging Face hub, either with #sha256=... at its end.
    Earlier phases' weights win over these.
    """

    backbone: str = ""  # empty: from random weights
    pose: str = ""


@dataclass
class Loss:
    """Eq. (10) and (11)."""

    margin: float = 0.5  # [P] alpha
    bound: float = 0.01  # [P] beta of IV-B; IV-D finds .02 best, on unit vectors both are near 0
    gamma: float = 2.0  # [P]
    mining: str = "hard"  # [D] silent; "all" averages over all triplets


@dataclass
class Phase:
    """One phase of training: a model, what it starts from, its data order and its schedule."""

    name: str = ""  # names its checkpoints
    title: str = ""  # its row in the results; empty: the name
    model: str = ""  # "pose", "baseline", "intermediate" or "fgsam"
    start_from: tuple[str, ...] = ()  # phases whose matching weights are taken
    triplet: str = "none"  # beside the cross entropies: "none", "triplet" or "focal"
    train_pose: str = "cpb_only"  # [D] no pose loss in Eq. (11); "all", "none"
    epochs: int = 1
    batch: int = 64  # [D]
    # Pieces of a batch, one after the other: the same gradients in less memory, for a second
    # forward pass. But batch normalisation sees a piece at a time, and so do its running means.
    accumulate: int = 1
    images_per_identity: int = 0  # K of P x K batches of batch / K identities; 0: shuffled
    learning_rate: float = 1e-3
    warmup_epochs: float = 0.0  # the learning rate rises linearly over these
    halve_every: int = 50  # epochs
    flip: bool = True


@dataclass
class Compute:
    """How the device works; the results are the same up to rounding."""

    # Updates in one call of the device; 0: 10 on an accelerator, 1 on a CPU, where XLA uses one
    # core inside a loop (a step of the demo's baseline then took 2.1 s instead of 0.14 s).
    steps_per_call: int = 0
    # The training images on the device: "yes", "no", or "auto": if there is room for them beside
    # the step. Streamed images never are.
    resident: str = "auto"
    remat: bool = False  # keep only the products of the forward pass for the gradients


@dataclass
class Log:
    """How often to save and to show."""

    every: int = 10  # steps between lines of the log
    save_every: int = 1  # epochs between checkpoints
    keep: int = 2  # last checkpoints of a phase that are kept, beside the best
    evaluate_every: int = 0  # epochs between evaluations inside a phase; 0: at its end only
    pictures: bool = True


@dataclass
class Config:
    """A whole run."""

    seed: int = 0
    data: Data = field(default_factory=Data)
    pose_data: PoseData = field(default_factory=PoseData)
    synthetic: Synthetic = field(default_factory=Synthetic)
    model: Model = field(default_factory=Model)
    init: Init = field(default_factory=Init)
    loss: Loss = field(default_factory=Loss)
    compute: Compute = field(default_factory=Compute)
    phases: tuple[Phase, ...] = ()
    evaluation_batch: int = 128
    restore: str = "last"  # which checkpoint of a phase is evaluated: "last" or "best"
    repeats: int = 1  # runs with seed and split_seed raised by 0, 1, ...; tables give the spread
    references: bool = False  # rows for the mean colour and the untrained model in the table
    log: Log = field(default_factory=Log)


def check(config: Config) -> None:
    """Refuse what cannot run, before anything is loaded. Raises InputError."""
    names = [phase.name for phase in config.phases]
    if not names:
        raise InputError("config.phases is empty: name at least one phase")
    if len(set(names)) != len(names):
        raise InputError(f"the phases must have different names, got {', '.join(names)}")
    model = config.model
    for where, seed in (("seed", config.seed), ("data.split_seed", config.data.split_seed)):
        if seed < 0:
            raise InputError(f"config.{where} must not be negative, got {seed}")
    _choose("config.restore", config.restore, ("last", "best"))
    _choose("config.model.stem", model.stem, ("imagenet", "small"))
    _choose("config.model.bilinear", model.bilinear, ("textbook", "fft", "gram", "roll"))
    for where, value in {
        "config.evaluation_batch": config.evaluation_batch,
        "config.repeats": config.repeats,
        "config.log.every": config.log.every,
        "config.log.save_every": config.log.save_every,
        "config.log.keep": config.log.keep,
        "config.model.width": model.width,
        "config.model.sketch": model.sketch,
        "config.model.part_size": model.part_size,
        "config.model.plenary_size": model.plenary_size,
        "config.data.height": config.data.height,
        "config.data.width": config.data.width,
    }.items():
        if value < 1:
            raise InputError(f"{where} must be 1 or more, got {value}")
    for side in (config.pose_data.height, config.pose_data.width):
        if side < 0 or side % 8:
            raise InputError(
                f"config.pose_data: height and width are 0 or divisible by 8, got {side}"
            )
    _choose("config.model.dtype", config.model.dtype, ("float32", "bfloat16"))
    _choose("config.compute.resident", config.compute.resident, ("auto", "yes", "no"))
    if config.compute.steps_per_call < 0:
        raise InputError("config.compute.steps_per_call must not be negative")
    _choose("config.loss.mining", config.loss.mining, ("hard", "all"))
    for index, phase in enumerate(config.phases):
        here = f"config.phases[{index}]"
        _choose(f"{here}.model", phase.model, ("pose", "baseline", "intermediate", "fgsam"))
        _choose(f"{here}.triplet", phase.triplet, ("none", "triplet", "focal"))
        _choose(f"{here}.train_pose", phase.train_pose, ("cpb_only", "all", "none"))
        for name in phase.start_from:
            _choose(f"{here}.start_from", name, tuple(names[:index]))
        if not phase.name or Path(phase.name).name != phase.name:
            raise InputError(f"{here}.name names a folder and cannot be {phase.name!r}")
        if min(phase.epochs, phase.batch, phase.halve_every, phase.accumulate) < 1:
            raise InputError(f"{here}: epochs, batch, accumulate and halve_every must be 1 or more")
        if phase.images_per_identity < 0 or phase.learning_rate <= 0:
            raise InputError(f"{here}: images_per_identity below 0 or a learning rate not above 0")
        if phase.images_per_identity and phase.batch % phase.images_per_identity:
            raise InputError(
                f"{here}.batch={phase.batch} is not a multiple of "
                f"images_per_identity={phase.images_per_identity}"
            )
        if phase.batch % phase.accumulate:
            raise InputError(
                f"{here}.batch={phase.batch} is not a multiple of accumulate={phase.accumulate}"
            )
        if phase.triplet != "none" and phase.images_per_identity < 2:
            raise InputError(
                f"{here} has a triplet loss and needs images_per_identity of 2 or more, "
                f"got {phase.images_per_identity}"
            )
        if phase.triplet != "none" and phase.batch == phase.images_per_identity:
            raise InputError(f"{here} has one identity in a batch: no image has a rival")


def _choose(where: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{where} is one of {', '.join(choices) or 'none'}; got {value!r}")


def expand(config: Config, workdir: Path) -> Config:
    """Put the run's folder in place of `{workdir}` in the paths."""

    def filled(section: Any) -> Any:
        texts = {
            name: value.replace("{workdir}", str(workdir))
            for name, value in vars(section).items()
            if isinstance(value, str)
        }
        return dataclasses.replace(section, **texts)

    return dataclasses.replace(
        config,
        data=filled(config.data),
        pose_data=filled(config.pose_data),
        init=filled(config.init),
        synthetic=filled(config.synthetic),
    )


def to_dict(config: Config) -> dict:
    """Plain dictionaries, lists and scalars, as a checkpoint keeps them."""
    return dataclasses.asdict(config)


def from_dict(values: dict) -> Config:
    """The inverse of `to_dict`. Raises InputError on fields this version does not know."""
    sections = {
        "data": Data,
        "pose_data": PoseData,
        "synthetic": Synthetic,
        "model": Model,
        "init": Init,
        "loss": Loss,
        "compute": Compute,
        "log": Log,
    }
    values = {"init": {}, "compute": {}, **values}  # older checkpoints lack them
    try:
        made = {name: kind(**values[name]) for name, kind in sections.items()}
        phases = tuple(
            Phase(**{**phase, "start_from": tuple(phase["start_from"])})
            for phase in values["phases"]
        )
        return Config(**{**values, **made, "phases": phases})
    except (KeyError, TypeError) as error:
        raise InputError(f"the saved configuration is of another version: {error}") from None
