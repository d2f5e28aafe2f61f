"""The whole paper in miniature, on rendered pedestrians and without an accelerator.

Paper: FGSAM, Table IV (base, + pose, + LRAM, + FTL), every phase of section IV-B.
Data: rendered into the run's folder, read by the Market-1501 and COCO builders.
Command: python -m fgsam_jax.main --config configs/demo.py
"""

from fgsam_jax.config import (
    Config,
    Data,
    Log,
    Model,
    Phase,
    PoseData,
    Synthetic,
)


def get_config() -> Config:
    return Config(
        data=Data(
            source="{workdir}/synthetic/market1501",
            records="{workdir}/records",
            height=96,
            width=48,
        ),
        pose_data=PoseData(source="{workdir}/synthetic/coco", sigma=5.0),
        synthetic=Synthetic(folder="{workdir}/synthetic"),
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
            Phase("pose", "Pose", "pose", epochs=8, batch=32, learning_rate=2e-3, halve_every=4),
            Phase("base", "Base", "baseline", epochs=14, learning_rate=2e-3, halve_every=6),
            Phase(
                "base_pose",
                "Base + Pose",
                "intermediate",
                start_from=("pose", "base"),
                epochs=5,
                halve_every=2,
            ),
            Phase(
                "lram",
                "Base + Pose + LRAM",
                "fgsam",
                start_from=("base_pose",),
                epochs=5,
                images_per_identity=4,
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
        references=True,
        log=Log(save_every=5),
    )
