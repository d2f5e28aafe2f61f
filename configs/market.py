"""FGSAM on Market-1501 at full size, the setting of the paper.

Paper: rank-1 91.5, mAP 85.4 (Table II and text) or 86.4 (Tables IV and V).
Weights: random at the start, so that nothing needs to be downloaded. The paper begins with
ImageNet's and OpenPose's, do not expect its scores from random weights. Where torchvision's
ResNet-50 and OpenPose's COCO body net are at hand (docs/weights.md has the sources and licences):
    python tools/convert_weights.py resnet50-0676ba61.pth --to weights/resnet50.safetensors
    python tools/convert_weights.py body_pose_model.pth --to weights/openpose.safetensors
and begin with --config.init.backbone=weights/resnet50.safetensors
--config.init.pose=weights/openpose.safetensors. The same ResNet-50 comes from the hub without
PyTorch, as SOURCE hf://timm/resnet50.tv_in1k/model.safetensors.
Cost: 1.5 days on a GTX-1080 by the paper; 150 + 60 + 400 epochs of 202 steps of 64 images, after
the pose phase. Not yet run at full length here.
Command: python -m fgsam_jax.main --config configs/market.py --config.model.dtype=bfloat16
"""

from fgsam_jax.config import Config, Data, Log, Phase


def get_config() -> Config:
    return Config(
        data=Data(attributes="data/market_attribute.mat"),
        phases=(
            # OpenPose's schedule is 10 images a step by SGD; this is Adam on person crops. [D]
            Phase("pose", "Pose", "pose", epochs=30, learning_rate=1e-4, halve_every=10),
            Phase("base", "Base", "baseline", epochs=150),  # [P] 1e-3, halved every 50 epochs
            Phase(
                "base_pose",
                "Base + Pose",
                "intermediate",
                start_from=("pose", "base"),
                epochs=60,  # [P] 60 in one sentence, 100 in another
            ),
            Phase(
                "fgsam",
                "Base + Pose + LRAM + FTL",
                "fgsam",
                start_from=("base_pose",),
                triplet="focal",
                epochs=400,  # [P]
                images_per_identity=4,  # [D] P = 16, K = 4
                learning_rate=1e-4,  # [P]
                halve_every=100,  # [P]
            ),
        ),
        log=Log(save_every=5),
    )
