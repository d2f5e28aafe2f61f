"""The benchmark's own arithmetic; its times are not tested."""

import dataclasses
import json
import sys
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))

from benchmarks import ceilings, common, counted, pooling  # noqa: E402

from fgsam_jax.models.outputs import Outputs  # noqa: E402


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # more wait for each other where another process takes a core
    return torch


def test_ratios_are_medians_over_the_rounds_to_the_first(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def takes(*seconds):
        rounds = iter((0, *seconds))  # the first is the warm-up

        def run():
            now[0] += next(rounds)

        return run

    ours, rival = common.in_turn("x", {"ours": takes(1, 2, 4), "rival": takes(3, 4, 8)}, 3)
    assert (ours["median"], ours["ratio"], ours["fastest"]) == (2, 1, 1)
    assert (rival["median"], rival["ratio"], rival["rounds"]) == (4, 2, 3)
    assert rival["spread"] == pytest.approx(2.5)


class _TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.Conv(5, (3, 3), (2, 2), padding=1)(images * 1.0)
        return nn.Dense(7)(x.reshape(len(x), -1))


def test_flops_by_formula_are_those_counted_by_hand():
    """Of 3 x 3 outputs and 3 x 3 taps on 5 x 5 pixels, (2 + 3 + 2)^2 taps are inside."""
    images = jax.ShapeDtypeStruct((1, 5, 5, 3), np.uint8)
    model = _TwoLayers()
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    inside, everywhere = counted.formula(model, shapes, images)
    dense = 2 * 45 * 7
    assert inside == 2 * 49 * 3 * 5 + dense
    assert everywhere == 2 * 81 * 3 * 5 + dense


def test_what_a_backward_pass_keeps_is_counted_once():
    x = jnp.ones((8, 4))
    # The square needs its argument, the sine its cosine.
    assert pooling.kept_bytes(lambda x: x**2, x) <= 2 * x.nbytes
    assert pooling.kept_bytes(lambda x: x + 1, x) == 0


@pytest.mark.parametrize(
    ("backbone", "number"),
    [
        *(("resnet18", n) for n in (0, 1, 2, 4)),
        *((name, 1) for name in ("osnet_x0_25", "efficientnet_lite0", "mobilenet_v2")),
    ],
)
def test_the_rival_in_torch_has_as_many_parameters(torch, backbone, number):
    from benchmarks.torch_model import Net

    config = common.configuration("market_small", backbone)
    phase = config.phases[number]
    model = common.model_of(config, phase)
    shapes = common.variable_shapes(model, config.data.height, config.data.width)
    ours = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(shapes["params"]))
    assert ours == sum(x.numel() for x in Net(config.model, phase.model).parameters())


def test_the_rival_with_the_whole_recipe_gives_the_same_for_a_batch(torch):
    from dataclasses import replace

    from benchmarks import recipe, torch_recipe

    from fgsam_jax import objective

    config = common.configuration("market_cpu")
    config = replace(config, data=replace(config.data, height=32, width=16))
    phase, batch = config.phases[0], common.random_batch(8, 32, 16)
    variables = common.random_variables(common.model_of(config, phase), 32, 16)
    net = torch_recipe.baseline(config, variables)
    assert recipe.torch_difference(config, phase, variables, net, batch["image"]) < 1e-4
    images, labels = torch.from_numpy(batch["image"]), torch.from_numpy(batch["label"]).long()
    loss = torch_recipe.objective(config, net, images, labels)
    embeddings, logits, _ = net(images)
    outputs = Outputs(
        {"plenary": jnp.asarray(embeddings["plenary"].detach())},
        jnp.asarray(logits.detach()), {}, None,
    )  # fmt: skip
    terms = objective.recognition(outputs, batch, triplet="triplet", margin=0.3, smoothing=0.1)
    assert float(loss.detach()) == pytest.approx(float(sum(terms.losses.values())), rel=1e-5)


def test_augmentation_in_torch_shifts_and_erases_as_often_and_as_much(torch):
    from benchmarks import torch_recipe

    torch.manual_seed(0)
    images = torch.full((400, 40, 20, 3), 7, dtype=torch.uint8)
    erased = (torch_recipe.augmented(images, 0, 0.5) != 7).any(-1).float().mean((1, 2))
    assert 0.4 < (erased > 0).float().mean() < 0.6
    assert 0.17 < erased[erased > 0].mean() < 0.25
    shifted = (torch_recipe.augmented(images, 2, 0.0) != 7).any(-1)
    assert shifted.float().mean() == pytest.approx(0.09, abs=0.01)


def test_poolings_in_torch_agree_with_each_other(torch):
    from benchmarks import torch_pooling

    random = np.random.default_rng(0)
    x, y = (random.standard_normal((2, 6, n), np.float32) for n in (9, 4))
    tables = [(random.integers(0, 16, n), random.choice([-1, 1], n)) for n in (9, 4)]
    given = {"tables": tables, "size": 16, "parts": np.array([[1, 1, 0, 0], [1, 1, 1, 1]])}
    one, other = (pool(torch.from_numpy(x), torch.from_numpy(y), **given)
                  for pool in torch_pooling.METHODS.values())  # fmt: skip
    np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)


def test_the_rival_of_embedding_finds_the_same_without_transforms_and_in_onnxruntime(torch):
    from benchmarks import torch_embedding
    from benchmarks.torch_model import Net

    config = common.configuration("market_small")
    # Exporting and reading a model take as long as its arrays are large.
    config = dataclasses.replace(config, model=dataclasses.replace(tiny.SIZES, backbone="resnet18"))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 16, 3), np.uint8)
    net = torch_embedding.describer(config, config.phases[-1])
    runs = torch_embedding.rivals(net, images)
    found = runs["PyTorch"]()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    if "onnxruntime" in runs:
        np.testing.assert_allclose(runs["onnxruntime"](), found, atol=1e-5)
    x, y = torch.randn(2, net.norms[0].num_features, 6), torch.randn(2, 57, 6)
    np.testing.assert_allclose(net.pool(x, y), Net.pool(net, x, y), atol=1e-5)


def test_focal_triplet_in_torch_is_ours(torch):
    from benchmarks.torch_model import focal_triplet

    from fgsam_jax import loss
    from fgsam_jax.models.norm import unit_length

    x = np.random.default_rng(0).standard_normal((12, 5), np.float32)
    labels = np.arange(12) // 3
    ours = jnp.mean(loss.focal_triplet(unit_length(jnp.asarray(x)), jnp.asarray(labels)))
    theirs = focal_triplet(torch.from_numpy(x), torch.from_numpy(labels))
    assert float(theirs) == pytest.approx(float(ours), rel=1e-5)


def test_a_section_is_printed_and_written_as_json(tmp_path, monkeypatch, capsys):
    """Its methods agree, those in PyTorch too."""
    import benchmark

    file = tmp_path / "figures.json"
    ceiling = [
        {"what": "product float32", "gflop_per_s": 1.0},
        {"what": "copy", "gb_per_s": 1.0},
    ]
    monkeypatch.setattr(ceilings, "_measured", lambda quick: ceiling)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    arguments = ["--quick", "--section", "pooling", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
    benchmark.main()
    assert "gram, forward" in capsys.readouterr().out
    written = json.loads(file.read_text())
    rows = {row["what"]: row for row in written["rows"]}
    assert {f"{method}, forward" for method in pooling.METHODS} < set(rows)
    assert max(row["difference"] for row in rows.values()) < 1e-5
    assert {"device", "load", "versions"} < set(written)
