"""FGSAM on PETA, five times with other random splits.

Paper: rank-1 62.0, mAP 57.2 (Table II). Its split was never published; ours is half of the people
with two or more images for training and one query of each other person, drawn anew for each run.
Not comparable to the paper.
Cost: for each of the five runs not quite half of configs/market.py, whose epochs have 202 steps
and these 92.
Command: python -m fgsam_jax.main --config configs/peta.py --config.model.dtype=bfloat16
A small model for a CPU, 5 to 10 minutes a run, its pose net taught by the joints of Market-1501:
python -m fgsam_jax.main --config configs/peta.py:small
The network, weights (docs/weights.md) and recipe of configs/market_cpu.py on images of 96x48: 8
epochs of Base and 8 more of its control and of FGSAM, each of 92 steps, and 2 of the pose net. It
has no Base + Pose:
python -m fgsam_jax.main --config configs/peta.py:recipe
"""

import runpy
from dataclasses import replace
from pathlib import Path

from fgsam_jax.config import Config, Data, Log, Model, Phase, PoseData


def get_config(size: str = "paper") -> Config:
    """The size may stand behind a colon on the command line: `configs/peta.py:small`."""
    return {"paper": _paper, "small": _small, "recipe": _recipe}[size]()


def _paper() -> Config:
    return Config(
        data=Data(name="peta", source="data/PETA dataset"),
        phases=(
            Phase("pose", "Pose", "pose", epochs=30, learning_rate=1e-4, halve_every=10),
            Phase("base", "Base", "baseline", epochs=150),  # [P] 1e-3, halved every 50 epochs
            Phase(
                "base_pose",
                "Base + Pose",
                "intermediate",
                start_from=("pose", "base"),
                epochs=60,
            ),
            Phase(
                "fgsam",
                "Base + Pose + LRAM + FTL",
                "fgsam",
                start_from=("base_pose",),
                triplet="focal",
                epochs=400,
                images_per_identity=4,
                learning_rate=1e-4,
                halve_every=100,
            ),
        ),
        repeats=5,
        log=Log(save_every=5),
    )


def _small() -> Config:
    return Config(
        data=Data(name="peta", source="data/PETA dataset", height=96, width=48),
        pose_data=PoseData(
            name="market1501",
            source="data/Market-1501-v15.09.15",
            joints="data/market1501_body_point",
            sigma=5.0,
        ),
        model=Model(
            backbone="resnet10",
            width=16,
            pose_width=0.125,
            pose_kernel=5,
            last_stride=1,
            sketch=1024,
            part_size=64,
            plenary_size=128,
        ),
        phases=(
            Phase("pose", "Pose", "pose", epochs=2, batch=32, learning_rate=2e-3, halve_every=1),
            Phase("base", "Base", "baseline", epochs=10, learning_rate=2e-3, halve_every=3),
            Phase(
                "base_pose",
                "Base + Pose",
                "intermediate",
                start_from=("pose", "base"),
                epochs=5,
                halve_every=2,
            ),
            Phase(
                "fgsam",
                "Base + Pose + LRAM + FTL",
                "fgsam",
                start_from=("base_pose",),
                triplet="focal",
                epochs=5,
                images_per_identity=4,
                halve_every=2,
            ),
        ),
        repeats=5,
        references=True,
        log=Log(every=20, pictures=False),
    )


def _recipe() -> Config:
    small = _small()
    whole = runpy.run_path(str(Path(__file__).with_name("market_cpu.py")))["get_config"]()
    learned = {"base": 8, "base_long": 8, "fgsam": 8}  # epochs

    def shortened(phase: Phase) -> Phase:
        return replace(
            phase,
            epochs=learned[phase.name],
            warmup_epochs=1,
            augmentation=replace(phase.augmentation, pad=4),
            optimization=replace(phase.optimization, ema=0.99),
        )

    pose_net = small.phases[:1]
    return replace(
        whole,
        data=small.data,
        pose_data=small.pose_data,
        phases=(*pose_net, *(shortened(x) for x in whole.phases if x.name in learned)),
        repeats=5,
        log=small.log,
    )
