"""The whole method with the field's recipe on Market-1501, hours on two CPU cores.

Paper: FGSAM, Table IV, with the recipe of "Bag of Tricks and a Strong Baseline for Deep Person
Re-identification" (Luo et al., 2019) around it, a small network and 160x80 images; no published
number compares. fgsam_jax/config.py says what each option does and what it gave to whom.
Weights: EfficientNet-Lite0 of ImageNet (docs/weights.md says how to get them).
Joints for phase 0 are those found by machine on Market's own crops, unpacked from
layumi/market1501_body_point; they are read with h5py: pip install -e ".[joints]"
Cost: 24 + 16 + 6 + 16 + 16 + 16 epochs of 202 steps of 64 images (the third: 404 of 32). On an
AMD EPYC the first took 73 minutes and the third 17 on two cores, the second 68 and the last 96 on
one core; the two others were not run in this form.
Command: python -m fgsam_jax.main --config configs/market_cpu.py
To choose settings, train on the list that this makes of the training split:
    python tools/prepare.py --config configs/market_cpu.py --held_out 100 --to held_out.csv
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
    PoseData,
)


def get_config(backbone: str = "efficientnet_lite0") -> Config:
    """The name of a backbone may stand behind a colon on the command line."""
    base = Phase(
        "base",
        "Base",
        "baseline",
        triplet="triplet",
        triplet_vector="before",
        epochs=24,
        images_per_identity=4,
        learning_rate=1e-3,
        warmup_epochs=2,
        # Milder erasing than the 0.5 that pays in 120 epochs.
        augmentation=Augmentation(pad=6, erase=0.3),
        optimization=Optimization(
            schedule="cosine",
            flat=0.4,
            weight_decay=0.05,
            clip=10.0,
            frozen_epochs=1,
            ema=0.999,
        ),
    )
    # Each later phase goes on from the baseline, and the control trains as long as each: chosen on
    # held-out people with fewer epochs of smaller images (docs/results.md).
    further = replace(
        base,
        epochs=16,
        warmup_epochs=1,
        optimization=replace(base.optimization, frozen_epochs=0),
    )
    later = replace(further, model="fgsam", start_from=("pose", "base"))
    return Config(
        data=Data(
            source="data/Market-1501-v15.09.15",
            attributes="data/market_attribute.mat",
            height=160,
            width=80,
        ),
        pose_data=PoseData(
            name="market1501",
            source="data/Market-1501-v15.09.15",
            joints="data/market1501_body_point",
            sigma=7.0,
        ),
        model=Model(
            backbone=backbone,
            last_stride=1,
            pose_width=0.125,
            pose_kernel=5,
            sketch=2048,
            part_size=128,
            pooling="gem",
            baseline_neck=True,
            identity_heads="all",
            prior_bias=True,
        ),
        init=Init(backbone=f"weights/{backbone}.safetensors"),
        loss=Loss(margin=0.3, label_smoothing=0.1, attribute_weight=0.1, attribute_smoothing=0.2),
        phases=(
            base,
            replace(further, name="base_long", title="Base, trained as long", start_from=("base",)),
            Phase("pose", "Pose", "pose", epochs=6, batch=32, learning_rate=2e-3, halve_every=2),
            replace(later, name="base_pose", title="Base + Pose", model="intermediate"),
            replace(later, name="lram", title="Base + Pose + LRAM", triplet="none"),
            replace(later, name="fgsam", title="Base + Pose + LRAM + FTL", triplet="focal"),
        ),
        mirror=True,
        log=Log(every=50, evaluate_every=8),
    )
