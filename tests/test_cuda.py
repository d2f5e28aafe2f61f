"""The compile check: what it counts in programs written by hand, and the demo's steps for GPUs."""

import argparse
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "tools"))

from benchmarks import cuda, hlo, kernels
from benchmarks.cards import CARDS

PEAKS = {"bf16": 4e12, "tf32": 2e12, "f32": 1e12}


def entry(*lines: str) -> str:
    return "\n".join(["HloModule tried", "", "ENTRY %main (x: f32[2]) -> f32[2] {", *lines, "}"])


def counted(text: str, bandwidth: float = 1e12) -> dict:
    return kernels.counted(text, PEAKS, bandwidth)


def test_a_line_is_taken_apart():
    text = entry(
        "  %a.1 = (f32[2,3]{1,0}, /*index=1*/pred[4]{0}) parameter(0)",
        '  ROOT %f = f32[]{:T(128)} fusion(%a.1, %b), calls=%g, metadata={op_name="x(y)"}',
    )
    program, name = hlo.parse(text)
    first, last = program[name].values()
    assert (first.opcode, first.operands, first.root) == ("parameter", (), False)
    assert hlo.arrays(first.shape) == [("f32", (2, 3)), ("pred", (4,))]
    assert hlo.nbytes(first.shape) == 24 + 4
    assert (last.opcode, last.operands, last.called()) == ("fusion", ("a.1", "b"), ["g"])
    assert last.root


@pytest.mark.parametrize(
    ("which", "given", "result", "elements"),
    [
        ("Forward", "%x, %k", "bf16[2,5,5,7]", 150 + 189 + 350),
        ("BackwardInput", "%y, %k", "bf16[2,5,5,3]", 350 + 189 + 150),
        ("BackwardFilter", "%x, %y", "bf16[7,3,3,3]", 150 + 350 + 189),
    ],
)
def test_a_convolution_and_its_gradients_take_the_same_arithmetic(which, given, result, elements):
    row = counted(
        entry(
            "  %x = bf16[2,5,5,3]{3,2,1,0} parameter(0)",
            "  %k = bf16[7,3,3,3]{3,2,1,0} parameter(1)",
            "  %y = bf16[2,5,5,7]{3,2,1,0} parameter(2)",
            f"  %c = ({result}{{3,2,1,0}}, u8[0]{{0}}) custom-call({given}), window={{size=3x3}}, "
            f'dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$conv{which}"',
            f"  ROOT %r = {result}{{3,2,1,0}} get-tuple-element(%c), index=0",
        )
    )
    assert row["kernels"] == row["convolutions_bf16"] == 1
    assert row["gflop"] * 1e9 == pytest.approx(2 * 350 * 27)
    assert row["gb"] * 1e9 == pytest.approx(2 * elements)


DOT = "dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}"


@pytest.mark.parametrize(
    ("exactly", "name"), [("", "tf32"), (", operand_precision={highest,highest}", "f32")]
)
def test_a_product_inside_fusions_counts_with_the_type_that_it_is_computed_in(exactly, name):
    text = "\n".join(
        [
            "%inner (a: f32[8,16], b: f32[16,4]) -> f32[8,4] {",
            "  %a = f32[8,16]{1,0} parameter(0)",
            "  %b = f32[16,4]{1,0} parameter(1)",
            f"  ROOT %d = f32[8,4]{{1,0}} {DOT}{exactly}",
            "}",
            "%outer (a: f32[8,16], b: f32[16,4]) -> f32[8,4] {",
            "  %a = f32[8,16]{1,0} parameter(0)",
            "  %b = f32[16,4]{1,0} parameter(1)",
            "  ROOT %f = f32[8,4]{1,0} fusion(%a, %b), kind=kCustom, calls=%inner",
            "}",
            entry(
                "  %a = f32[8,16]{1,0} parameter(0)",
                "  %b = f32[16,4]{1,0} parameter(1)",
                "  ROOT %f = f32[8,4]{1,0} fusion(%a, %b), kind=kCustom, calls=%outer",
            ),
        ]
    )
    row = counted(text)
    assert row[f"products_{name}"] == row["kernels"] == 1
    flop, traffic = 2 * 8 * 16 * 4, 4 * (8 * 16 + 16 * 4 + 8 * 4)
    assert row[f"products_{name}_gflop"] * 1e9 == pytest.approx(flop)
    assert counted(text, 1e9)["bound_ms"] / 1e3 == pytest.approx(traffic / 1e9)
    assert counted(text, 1e15)["bound_ms"] / 1e3 == pytest.approx(flop / PEAKS[name])


def test_a_product_of_cublas_counts_like_any_other():
    config = (
        '{"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["0"]}}}'
    )
    row = counted(
        entry(
            "  %a = f16[16,8]{1,0} parameter(0)",
            "  %b = f16[16,4]{1,0} parameter(1)",
            "  ROOT %g = (f16[8,4]{1,0}, s8[64]{0}) custom-call(%a, %b), "
            f'custom_call_target="__cublas$gemm", backend_config={config}',
        )
    )
    assert row["products_f16"] == 1
    assert row["gflop"] * 1e9 == pytest.approx(2 * 8 * 16 * 4)


def test_of_what_is_sliced_or_updated_in_place_only_that_part_moves():
    text = "\n".join(
        [
            "%pick (all: f32[1000,8], i: s32[]) -> f32[1,8] {",
            "  %all = f32[1000,8]{1,0} parameter(0)",
            "  %i = s32[] parameter(1)",
            "  %row = f32[1,8]{1,0} dynamic-slice(%all, %i), dynamic_slice_sizes={1,8}",
            "  ROOT %put = f32[1000,8]{1,0} dynamic-update-slice(%all, %row, %i)",
            "}",
            entry(
                "  %all = f32[1000,8]{1,0} parameter(0)",
                "  %i = s32[] parameter(1)",
                "  ROOT %f = f32[1000,8]{1,0} fusion(%all, %i), kind=kLoop, calls=%pick",
            ),
        ]
    )
    assert counted(text)["gb"] * 1e9 == pytest.approx(32 + 4 + 32)


def test_a_loop_counts_its_rounds_and_of_branches_the_smallest_counts():
    text = "\n".join(
        [
            "%much (x: f32[100]) -> f32[100] {",
            "  %x = f32[100]{0} parameter(0)",
            "  ROOT %y = f32[100]{0} negate(%x)",
            "}",
            "%little (x: f32[100]) -> f32[100] {",
            "  ROOT %x = f32[100]{0} parameter(0)",
            "}",
            "%always (x: f32[100]) -> pred[] {",
            "  ROOT %t = pred[] constant(true)",
            "}",
            entry(
                "  %x = f32[100]{0} parameter(0)",
                "  %w = f32[100]{0} while(%x), condition=%always, body=%much, "
                'backend_config={"known_trip_count":{"n":"7"}}',
                "  %v = f32[100]{0} while(%w), condition=%always, body=%much",
                "  %c = f32[100]{0} conditional(%p, %v, %v), branch_computations={%much, %little}",
                "  ROOT %d = f32[100]{0} copy(%c)",
            ),
        ]
    )
    row = counted(text)
    assert row["kernels"] == row["below_a_mib"] == 7 + 1 + 0 + 1
    assert row["gb"] * 1e9 == pytest.approx(9 * 800)
    assert row["waits"] == 2  # the loop whose rounds nobody knows, and the condition
    update = kernels.counted(text, PEAKS, 1e12, updates=10)
    assert update["kernels"] == round((7 + 10 + 0 + 1) / 10)
    assert update["gb"] * 1e9 == pytest.approx((7 + 10 + 1) * 800 / 10)


def test_large_transposes_and_scatters_are_found():
    row = counted(
        entry(
            "  %x = f32[512,1024]{1,0} parameter(0)",
            "  %t = f32[1024,512]{1,0} transpose(%x), dimensions={1,0}",
            "  %s = f32[8,4]{1,0} transpose(%x), dimensions={1,0}",
            "  %a = f32[8,4]{1,0} scatter(%s, %s, %s), to_apply=%add",
            "  ROOT %b = f32[8,4]{1,0} scatter(%a, %s, %s), unique_indices=true, to_apply=%add",
        )
    )
    assert (row["transposes"], row["transposes_mib"]) == (1, 2)
    assert (row["scatters"], row["unordered"]) == (2, 1)


def test_why_a_process_ended_is_one_line():
    errors = (
        "I0000 a word\n"
        "F1127 19:33:23.221740   25440 tiling.cc:627] Check failed: a == b (72 vs. 12)\n"
        "*** Check failure stack trace: ***\n"
    )
    said = "SIGABRT, tiling.cc:627] Check failed: a == b (72 vs. 12)"
    assert cuda.reason(-6, errors) == said
    assert cuda.reason(1, "Traceback\njax.errors.JaxRuntimeError: INTERNAL: no\n\n") == (
        "jax.errors.JaxRuntimeError: INTERNAL: no"
    )
    assert cuda.reason(-9, "") == "SIGKILL, exit status -9"


def test_a_program_fits_whole_without_its_images_or_not():
    sizes = {"needed": 10.0, "images": 4.0}
    assert [cuda.fits(sizes, room) for room in (10, 9, 6, 5)] == [
        "yes", "images sent", "images sent", "no",
    ]  # fmt: skip


@pytest.mark.parametrize("name", CARDS)
def test_a_card_has_the_types_and_the_plugin_of_its_age(name):
    """Compute capability 8.0 brought bfloat16 and TF32; CUDA 13 begins with 7.5."""
    card = CARDS[name]
    part = card.text.split("cuda_compute_capability")[1].split("}")[0]
    capability = tuple(int(number) for number in re.findall(r"\d+", part))
    assert [kind in card.peaks for kind in ("bf16", "tf32")] == [capability >= (8,)] * 2
    assert (card.plugin == "jax_cuda12_plugin") == (capability < (7, 5))


@pytest.mark.skipif(not CARDS["h100"].installed(), reason="needs the plugin jax-cuda13-plugin")
def test_the_steps_of_the_demo_compile_for_gpus():
    rows = {row["what"]: row for row in cuda.cuda(argparse.Namespace(quick=True))}
    assert len(rows) == 2 * 4 * 2
    assert {what: row["outcome"] for what, row in rows.items()} == dict.fromkeys(rows, "compiled")
    assert all(row["fits"] == "yes" and row["kernels"] > 100 for row in rows.values())
