"""FGSAM on Market-1501 with the field's strong recipe at full size, for a GPU.

Paper: FGSAM, Table IV (rank-1 91.5), with the recipe of "Bag of Tricks and a Strong Baseline for
Deep Person Re-identification" (Luo et al., 2019) around it, whose baseline alone has 94.5 / 85.9.
fgsam_jax/config.py says what each option does and what it gave to whom. The paper's own setting is
configs/market.py.
Weights: torchvision's ResNet-50 and OpenPose's body net, converted as configs/market.py says;
--config.init.backbone= --config.init.pose= trains from scratch.
Cost: 30 + 120 + 80 + 80 + 80 + 80 epochs of 202 steps of 64 images. Not yet run at full
length here.
Command: python -m fgsam_jax.main --config configs/market_strong.py --config.model.dtype=bfloat16
"""

from dataclasses import replace

from fgsam_jax.config import (
    Augmentation,
    Config,
    Data,
    Init,
    Log,
    Loss,
    Model,
    Optimization,
    Phase,
)


def get_config() -> Config:
    base = Phase(
        "base",
        "Base",
        "baseline",
        triplet="triplet",
        triplet_vector="before",
        epochs=120,
        images_per_identity=4,
        learning_rate=3.5e-4,
        warmup_epochs=10,
        augmentation=Augmentation(pad=10, erase=0.5),
        optimization=Optimization(
            schedule="cosine",
            flat=0.5,
            weight_decay=0.05,
            clip=10.0,
            frozen_epochs=5,
            ema=0.999,
        ),
    )
    # Each later phase goes on from the baseline, and the control trains as long as each.
    further = replace(
        base, epochs=80, warmup_epochs=2, optimization=replace(base.optimization, frozen_epochs=0)
    )
    later = replace(further, model="fgsam", start_from=("pose", "base"))
    return Config(
        data=Data(source="data/Market-1501-v15.09.15", attributes="data/market_attribute.mat"),
        model=Model(
            last_stride=1,
            pooling="gem",
            baseline_neck=True,
            identity_heads="all",
            prior_bias=True,
        ),
        init=Init(backbone="weights/resnet50.safetensors", pose="weights/openpose.safetensors"),
        loss=Loss(margin=0.3, label_smoothing=0.1, attribute_weight=0.1, attribute_smoothing=0.2),
        phases=(
            Phase("pose", "Pose", "pose", epochs=30, learning_rate=1e-4, halve_every=10),
            base,
            replace(further, name="base_long", title="Base, trained as long", start_from=("base",)),
            replace(later, name="base_pose", title="Base + Pose", model="intermediate"),
            replace(later, name="lram", title="Base + Pose + LRAM", triplet="none"),
            replace(later, name="fgsam", title="Base + Pose + LRAM + FTL", triplet="focal"),
        ),
        mirror=True,
        log=Log(evaluate_every=10),
    )
