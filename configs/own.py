"""The whole method on your own data, small enough for a CPU and for ten images.

Data: a folder for each person, images named like Market-1501's, or a CSV; docs/own_data.md shows
them. Splits, cameras and attributes are used where the set has them.
Joints for phase 0: pedestrians rendered into the run's folder. A pose net taught by real joints
finds the parts of real people better; the same page says how.
Command: python -m fgsam_jax.main --config configs/own.py --config.data.source=data/own
For hundreds of people give the images in a batch: --config configs/own.py:64
"""

from fgsam_jax.config import Config, Data, Log, Model, Phase, PoseData, Synthetic


def get_config(batch: str = "4") -> Config:
    """`configs/own.py:64` on the command line gives the batch "64"."""
    images = int(batch)
    per_person = 4 if images >= 16 else 2
    return Config(
        data=Data(name="folder", source="data/own", height=96, width=48),
        pose_data=PoseData(source="{workdir}/synthetic/coco", sigma=5.0),
        synthetic=Synthetic(
            folder="{workdir}/synthetic",
            train_identities=1,
            test_identities=1,
            images_per_identity=4,
            distractors=0,
            junk=0,
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
            Phase("pose", "Pose", "pose", epochs=8, batch=32, learning_rate=2e-3, halve_every=4),
            Phase(
                "base",
                "Base",
                "baseline",
                epochs=20,
                batch=images,
                learning_rate=2e-3,
                halve_every=8,
            ),
            Phase(
                "base_pose",
                "Base + Pose",
                "intermediate",
                start_from=("pose", "base"),
                epochs=10,
                batch=images,
                halve_every=4,
            ),
            # Without attributes the part branches learn from their triplet loss alone.
            Phase(
                "fgsam",
                "Base + Pose + LRAM + FTL",
                "fgsam",
                start_from=("base_pose",),
                triplet="focal",
                epochs=10,
                batch=images,
                images_per_identity=per_person,
                halve_every=4,
            ),
        ),
        references=True,
        evaluation_batch=32,
        log=Log(save_every=5),
    )
