"""The configuration: typed dataclasses, a reason beside every default.

A file in configs/ returns a `Config`; `--config.field=value` overrides a field on the command
line, `--config.phases[1].epochs=7` inside a tuple. `[P]` marks a value of the paper, `[D]` a
decision where the paper is silent or contradicts itself. What a field may hold is its type:
one of a `Literal`, or a number within the bounds of fgsam_jax/options.py.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from fgsam_jax.errors import InputError
from fgsam_jax.options import (
    Batch,
    Border,
    Count,
    Eights,
    Exponent,
    Factor,
    Line,
    Name,
    Natural,
    NonNegative,
    Odd,
    OneOrTwo,
    Pixels,
    Probability,
    Rate,
    Seed,
    Share,
    Spread,
    misfits,
)

Dtype = Literal["float32", "bfloat16"]
_UNNAMED: Any = ""  # refused: every phase must say which model it trains


@dataclass
class Data:
    """The images to re-identify. `{workdir}` in a path stands for the run's folder."""

    name: str = "market1501"  # which builder of fgsam_jax.data reads the source
    source: str = "data/Market-1501-v15.09.15"
    attributes: str = ""  # the attribute file; empty: looked for inside the source
    records: str = "~/.cache/fgsam_jax"  # where converted sets are kept
    height: Pixels = 256  # [D] silent in the paper; the field's usual size
    width: Pixels = 128
    split_seed: Seed = 0  # draws the splits of a set published without: PETA, people in folders
    outside: bool = False  # whether a CSV may name images outside of its own folder


@dataclass
class PoseData:
    """The images with joints that phase 0 learns from."""

    name: str = "coco_keypoints"  # [P]
    source: str = "data/coco"
    joints: str = ""  # for a re-identification set: a .json, or a folder of joint files
    height: Eights = 0  # 0: as the images to re-identify; OpenPose's crops are 368x368
    width: Eights = 0
    sigma: Spread = 7.0  # pixels; OpenPose's
    split: str = "train"
    stream: bool = False  # decode while training instead of keeping a table; for large sets


@dataclass
class Synthetic:
    """Pedestrians to render before training."""

    folder: str = ""  # gets market1501/ and coco/; empty: nothing is rendered
    seed: Seed = 0
    train_identities: Count = 60
    test_identities: Count = 40
    images_per_identity: Count = 12
    cameras: Count = 6
    height: Pixels = 128
    width: Pixels = 64
    distractors: Natural = 60
    junk: Natural = 20
    pose_images: Natural = 300
    pose_val_images: Natural = 60


@dataclass
class Model:
    """Sizes of the networks; the defaults are the published ones."""

    backbone: str = "resnet50"  # [P]; see BACKBONES of models/factory.py
    width: Count = 64  # channels of a ResNet's first stage
    stem: Literal["imagenet", "small"] = "imagenet"
    # [D] of the last stage, in all 32 as published; 1 gives a map of stride 16, as OSNet has it
    last_stride: OneOrTwo = 2
    pose_width: Factor = 1.0
    pose_kernel: Odd = 7
    parse: bool = True  # channel parse blocks; False is Table V's "without CPB"
    sketch: Count = 4096  # [D] standard error of an inner product .037; 2048 gives .060
    # All give the same numbers; "gram" is the fastest on a CPU.
    bilinear: Literal["textbook", "fft", "gram", "roll"] = "gram"
    part_size: Count = 256  # [P]
    plenary_size: Count = 512  # [P]
    # [D] batch-normalise the embeddings: better mAP, and no branch collapses (docs/results.md).
    bnneck: bool = True
    # The rest is the field's strong baseline and none of it the paper's. Of the baseline: how its
    # map is pooled ("gem": generalised mean, its exponent learned), and a normalisation between
    # pooled vector and classifier, as the embeddings have it (BoT: 92.0 / 81.7 to 94.1 / 85.7).
    pooling: Literal["mean", "gem"] = "mean"
    baseline_neck: bool = False
    # Which vector of a normalised embedding searches compare; BoT's is the one after.
    search_vector: Literal["before", "after"] = "after"
    # "all": each part branch of FGSAM has an identity classifier too, as in PCB, MGN and BPBReID.
    identity_heads: Literal["plenary", "all"] = "plenary"
    # The biases of the attribute heads begin at the logarithms of the classes' shares, where the
    # answer is the majority's.
    prior_bias: bool = False
    # "bfloat16" computes in it; parameters and losses stay float32.
    dtype: Dtype = "float32"


@dataclass
class Init:
    """Converted weights that training begins with; see tools/convert_weights.py.

    A path, or hf://owner/name/file on the Hugging Face hub, either with #sha256=... at its end.
    Weights of earlier phases take precedence.
    """

    backbone: str = ""  # empty: from random weights
    pose: str = ""


@dataclass
class Loss:
    """Eq. (10) and (11); every weight is 1 in the paper."""

    margin: NonNegative = 0.5  # [P] alpha
    bound: NonNegative = (
        0.01  # [P] beta of IV-B; IV-D finds .02 best, on unit vectors both are near 0
    )
    gamma: Exponent = 2.0  # [P]
    mining: Literal["hard", "all"] = "hard"  # [D] silent; "all" averages over all triplets
    identity_weight: NonNegative = 1.0  # of each identity term
    attribute_weight: NonNegative = 1.0  # of each attribute's term
    attributes: Line = ""  # which of them have a term, names with commas between; empty: all
    triplet_weight: NonNegative = 1.0  # of each branch's triplet term
    # The share of an identity's target that all identities have alike; BoT takes 0.1 (91.3 / 79.3
    # to 91.4 / 80.3).
    label_smoothing: Share = 0.0
    # The share of an attribute's target that goes by the classes' shares in the batch: heads that
    # know the training people by heart are too sure of rare classes on others. 0.2 lifts the heads'
    # mean accuracy on other people by 0.4 and 0.9 points; balanced accuracy and mAP fall by about
    # as much (docs/results.md).
    attribute_smoothing: Share = 0.0


@dataclass
class Augmentation:
    """Random changes of training images beside the mirror; the paper has none of them."""

    # Pixels of mean colour around the image, of which a random crop of its size is taken; BoT: 10.
    pad: Border = 0
    # Share of the images in which a rectangle is filled with the mean colour (Zhong et al., 2017);
    # BoT takes 0.5 (88.7 / 75.2 to 91.3 / 79.3 in 120 epochs; short schedules want less).
    erase: Probability = 0.0


@dataclass
class Optimization:
    """How Adam's steps are sized; the defaults are the paper's."""

    # After the warm-up: "halve" every `halve_every` epochs [P]; "step": to a tenth at each of
    # `drop_epochs`, BoT's are (40, 70) of 120; "cosine": whole for the share `flat` of the phase,
    # then a half cosine down to 0, as in fast-reid with 0.5.
    schedule: Literal["halve", "step", "cosine"] = "halve"
    drop_epochs: tuple[int, ...] = ()
    flat: Share = 0.0
    # Decoupled (AdamW: times the learning rate), on kernels alone: biases, normalisations and
    # exponents do not shrink. BoT's 5e-4 is another thing: a part of the gradient.
    weight_decay: NonNegative = 0.0
    clip: NonNegative = 0.0  # the gradient's largest norm, of all parameters together; 0: none
    backbone_rate: NonNegative = 1.0  # factor of the learning rate of the backbone
    # The backbone keeps its weights and statistics in the first epochs, while the new layers
    # settle, and normalises by its running statistics; fast-reid: 1000 steps.
    frozen_epochs: Natural = 0
    # Decay of an exponential moving average of weights and statistics, which is what is evaluated
    # and handed on; 0: none. It begins at 0.18 and rises: min(ema, (1 + steps) / (10 + steps)).
    ema: Share = 0.0


@dataclass
class Phase:
    """One phase of training: a model, what it starts from, its data order and its schedule."""

    name: Name = ""  # names its checkpoints
    title: Line = ""  # its row in the results; empty: the name
    model: Literal["pose", "baseline", "intermediate", "fgsam"] = _UNNAMED
    start_from: tuple[Name, ...] = ()  # phases whose matching weights are taken
    triplet: Literal["none", "triplet", "focal"] = "none"  # beside the cross entropies
    # Which vector of a normalised embedding it compares; BoT's is the one before. The focal loss
    # shrinks all distances there, to 0.1 and 0.2, and yet gives 3 points of mAP more than after it
    # (docs/results.md, held-out people of Market-1501).
    triplet_vector: Literal["before", "after"] = "after"
    # Which of the pose net's parameters are trained; "cpb_only": the channel parse blocks.
    # [D] Eq. (11) has no pose loss.
    train_pose: Literal["cpb_only", "all", "none"] = "cpb_only"
    epochs: Count = 1
    batch: Batch = 64  # [D]
    # Gradient accumulation over so many micro-batches: less memory, a second forward pass. Batch
    # normalisation sees one micro-batch at a time, and so do its running means.
    accumulate: Batch = 1
    # K of PK sampling, with P = batch / K identities; 0 disables it and shuffles.
    images_per_identity: Natural = 0
    learning_rate: Rate = 1e-3
    warmup_epochs: NonNegative = 0.0  # the learning rate rises linearly over these
    halve_every: Count = 50  # epochs
    flip: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimization: Optimization = field(default_factory=Optimization)

    def __post_init__(self) -> None:
        # Phases of a file may be given one object; an override of one phase is of that one alone.
        self.augmentation = dataclasses.replace(self.augmentation)
        self.optimization = dataclasses.replace(self.optimization)


@dataclass
class Compute:
    """How the device works; the results are the same up to rounding."""

    # Updates in one call of the device; 0: 10 on an accelerator, 1 on a CPU, where XLA uses one
    # core inside a loop.
    steps_per_call: Natural = 0
    # The training images on the device; "auto": if there is room for them beside the step.
    # Streamed images never are.
    resident: Literal["auto", "yes", "no"] = "auto"
    remat: bool = False  # rematerialise activations: less memory, more compute


@dataclass
class Evaluation:
    """What is worked out at a phase's end beside its row of the table; all by the same protocol."""

    # k-reciprocal re-ranking (Zhong et al., 2017) with k1 20, k2 6, lambda 0.3.
    re_ranking: bool = False
    # Average and alpha query expansion by 5 gallery images, alpha 3: fast-reid's.
    query_expansion: bool = False
    verification: bool = False  # ROC, the true-match rate at false-match rates of 1e-4 to 1e-1
    single_shot: bool = False  # CMC with one image of each person in the gallery, 10 random draws
    per_query: bool = False  # a CSV file of every query: average precision, first hit, nearest miss


@dataclass
class Log:
    """How often to save and to show."""

    every: Count = 10  # steps between lines of the log
    save_every: Count = 1  # epochs between checkpoints
    keep: Count = 2  # last checkpoints of a phase that are kept, beside the best
    evaluate_every: Natural = 0  # epochs between evaluations inside a phase; 0: at its end only
    pictures: bool = True  # ranked lists and part maps in the report


@dataclass
class Config:
    """A whole run."""

    seed: Seed = 0
    data: Data = field(default_factory=Data)
    pose_data: PoseData = field(default_factory=PoseData)
    synthetic: Synthetic = field(default_factory=Synthetic)
    model: Model = field(default_factory=Model)
    init: Init = field(default_factory=Init)
    loss: Loss = field(default_factory=Loss)
    compute: Compute = field(default_factory=Compute)
    phases: tuple[Phase, ...] = ()
    evaluation: Evaluation = field(default_factory=Evaluation)
    evaluation_batch: Batch = 128
    mirror: bool = False  # average the embeddings of image and mirrored image, at twice the cost
    restore: Literal["last", "best"] = "last"  # which checkpoint of a phase is evaluated
    repeats: Count = 1  # runs with seed and split_seed raised by 0, 1, ...; tables give the spread
    references: bool = False  # rows for the mean colour and the untrained model in the table
    log: Log = field(default_factory=Log)


def taught_attributes(loss: Loss) -> tuple[str, ...]:
    """The names in `Loss.attributes`; none for all."""
    return tuple(filter(None, (name.strip() for name in loss.attributes.split(","))))


def check(config: Config) -> None:
    """Refuse what cannot run, before anything is loaded. Raises InputError."""
    for misfit in misfits(config, Config, "config"):
        raise InputError(misfit)
    names = [phase.name for phase in config.phases]
    if not names:
        raise InputError("config.phases is empty: name at least one phase")
    if len({name.casefold() for name in names}) != len(names):  # some disks know one case
        raise InputError(f"the phases must have different names, got {', '.join(names)}")
    if max(config.seed, config.data.split_seed) + config.repeats > 2**32:
        raise InputError(f"config.repeats={config.repeats} raises a seed to 2**32 or more")
    if config.restore == "best" and not config.log.evaluate_every:
        raise InputError(
            "config.restore=best chooses among evaluations, and config.log.evaluate_every=0 makes "
            "none inside a phase: set it to 1 or more"
        )
    for index, phase in enumerate(config.phases):
        _check_phase(phase, f"config.phases[{index}]", names[:index])


def _check_phase(phase: Phase, here: str, earlier: list[str]) -> None:
    for name in phase.start_from:
        if name not in earlier:
            choices = ", ".join(earlier) or "none"
            raise InputError(f"{here}.start_from is one of {choices}; got {name!r}")
    for divisor in ("images_per_identity", "accumulate"):
        if phase.batch % (getattr(phase, divisor) or 1):
            raise InputError(
                f"{here}.batch={phase.batch} is not a multiple of "
                f"{divisor}={getattr(phase, divisor)}"
            )
    how = phase.optimization
    if (how.schedule == "step") != bool(how.drop_epochs):
        raise InputError(
            f"{here}.optimization: drop_epochs belong to schedule=step, got {how.drop_epochs} with "
            f"schedule={how.schedule}"
        )
    if any(not 0 < epoch < phase.epochs for epoch in how.drop_epochs):
        raise InputError(
            f"{here}.optimization.drop_epochs lie between 0 and epochs={phase.epochs}, got "
            f"{how.drop_epochs}"
        )
    if phase.triplet == "none":
        return
    if phase.images_per_identity < 2:
        raise InputError(
            f"{here} has a triplet loss and needs images_per_identity of 2 or more, "
            f"got {phase.images_per_identity}"
        )
    if phase.batch == phase.images_per_identity:
        raise InputError(f"{here} has one identity in a batch: no image has a rival")


def to_dict(config: Config) -> dict:
    """Plain dictionaries, lists and scalars, as a checkpoint keeps them."""
    return dataclasses.asdict(config)


def from_dict(values: dict) -> Config:
    """The inverse of `to_dict`. Raises InputError on fields this version does not know."""
    sections: dict[str, Any] = {
        f.name: f.type for f in dataclasses.fields(Config) if dataclasses.is_dataclass(f.type)
    }
    try:
        values = _of_earlier_versions(values)
        made = {name: kind(**values[name]) for name, kind in sections.items()}
        phases = tuple(_phase_from_dict(phase) for phase in values["phases"])
        return Config(**{**values, **made, "phases": phases})
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"the saved configuration is of another version: {error}") from None


def _of_earlier_versions(values: dict) -> dict:
    """A saved configuration with the fields of today."""
    model = dict(values["model"])
    vector = model.pop("triplet_vector", "after")  # once the model's, of all phases
    phases = [
        phase if phase["model"] == "pose" else {"triplet_vector": vector, **phase}
        for phase in values["phases"]
    ]
    evaluation = dict(values.get("evaluation", {}))
    evaluation.pop("camera_pairs", None)  # they are always worked out now
    return {**values, "model": model, "evaluation": evaluation, "phases": phases}


def told(config: Config) -> dict[str, str]:
    """Every option as {its name: its value}, but the paths: they may differ between machines."""
    paths = {"source", "attributes", "records", "joints", "folder"}
    found: dict[str, str] = {}

    def walk(value: Any, name: str) -> None:
        inner: Any = None
        if isinstance(value, dict):
            inner = {f"{name}.{key}": part for key, part in value.items() if key not in paths}
        elif isinstance(value, tuple):
            inner = {f"{name}[{index}]": part for index, part in enumerate(value)}
        for key, part in (inner or {}).items():
            walk(part, key)
        if not inner:
            found[name] = repr(value)

    walk(to_dict(dataclasses.replace(config, init=Init())), "config")
    return found


def _phase_from_dict(values: dict) -> Phase:
    """What an earlier version did not know has its default."""
    how = dict(values.get("optimization", {}))
    how["drop_epochs"] = tuple(how.get("drop_epochs", ()))
    return Phase(
        **{
            **values,
            "start_from": tuple(values["start_from"]),
            "augmentation": Augmentation(**values.get("augmentation", {})),
            "optimization": Optimization(**how),
        }
    )
