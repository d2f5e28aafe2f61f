"""The whole method on the real Market-1501 with a model that a CPU can train in half an hour.

Paper: FGSAM, Table IV, with small networks from random weights at 128x64; no published number
compares. Joints for phase 0 are those found by machine on Market's own crops, unpacked from
layumi/market1501_body_point; they are read with h5py: pip install -e ".[joints]"
Command: python -m fgsam_jax.main --config configs/market_small.py
With the smallest OSNet: python -m fgsam_jax.main --config configs/market_small.py:osnet_x0_25
"""

from fgsam_jax.config import Config, Data, Log, Model, Phase, PoseData


def get_config(backbone: str = "resnet18") -> Config:
    """The name of a backbone may stand behind a colon on the command line."""
    return Config(
        data=Data(
            source="data/Market-1501-v15.09.15",
            attributes="data/market_attribute.mat",
            height=128,
            width=64,
        ),
        pose_data=PoseData(
            name="market1501",
            source="data/Market-1501-v15.09.15",
            joints="data/market1501_body_point",
            sigma=6.0,
        ),
        model=Model(
            backbone=backbone,
            width=16,
            pose_width=0.125,
            pose_kernel=5,
            last_stride=1,
            sketch=2048,
            part_size=64,
            plenary_size=256,
        ),
        phases=(
            Phase("pose", "Pose", "pose", epochs=2, batch=32, learning_rate=2e-3, halve_every=1),
            Phase("base", "Base", "baseline", epochs=10, learning_rate=2e-3, halve_every=3),
            Phase(
                "base_pose",
                "Base + Pose",
                "intermediate",
                start_from=("pose", "base"),
                epochs=3,
                halve_every=1,
            ),
            Phase(
                "lram",
                "Base + Pose + LRAM",
                "fgsam",
                start_from=("base_pose",),
                epochs=2,
                images_per_identity=4,
                halve_every=1,
            ),
            Phase(
                "fgsam",
                "Base + Pose + LRAM + FTL",
                "fgsam",
                start_from=("base_pose",),
                triplet="focal",
                epochs=2,
                images_per_identity=4,
                halve_every=1,
            ),
        ),
        references=True,
        log=Log(every=20),
    )
