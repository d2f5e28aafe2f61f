"""Phase 0 alone on COCO at full size: the pose resolve net, trained on OpenPose's crops.

Paper: FGSAM, section IV-B, re-trains the net on COCO and gives no figure for it. OpenPose's own
recipe is SGD with momentum .9, weight decay 5e-4, a learning rate of 4e-5 times .333 every 136,106
steps and 10 crops of 368x368 in a step, from VGG-19's weights. This is Adam from random weights
without weight decay, as in all phases here. [D]
Data: train2017, val2017 and annotations of COCO 2017 under data/coco. One crop of each image in an
epoch, about half of the 118,000; they are drawn while training runs and never kept.
Cost: 160 GFLOP forward for an image, four times a person crop of 256x128; data loading takes
7.5 ms per image on one core. Not yet run at full length here.
Command: python -m fgsam_jax.main --config configs/pose_coco.py --config.model.dtype=bfloat16

The same `PoseData` in configs/market.py makes this the first phase of a whole run.
"""

from fgsam_jax.config import Config, Phase, PoseData


def get_config() -> Config:
    return Config(
        pose_data=PoseData(name="coco_openpose", height=368, width=368),
        phases=(
            Phase(
                "pose",
                "Pose",
                "pose",
                epochs=60,  # [D] 3 million crops; OpenPose's 600,000 steps see 6 million
                batch=32,  # [D]
                learning_rate=1e-4,  # [D]
                warmup_epochs=0.5,
                halve_every=20,
            ),
        ),
    )
