import numpy as np
import pytest
from PIL import Image

from fgsam_jax.errors import InputError
from fgsam_jax.labels import skeleton
from fgsam_jax.visualization import draw, layout, poses

GREY = np.full((64, 32, 3), 128, np.uint8)


def pixels(picture):
    return np.asarray(picture).astype(int)


def count(picture, colour):
    return int((pixels(picture) == colour).all(axis=-1).sum())


def frame(height=layout.TILE_HEIGHT, width=layout.TILE_HEIGHT // 2, border=6):
    """Pixels of one frame around a tile of 1:2."""
    return (height + 2 * border) * (width + 2 * border) - height * width


def key(size=14, border=4):
    return size**2 - (size - 2 * border) ** 2


def test_a_ranked_list_frames_right_crops_green_and_wrong_ones_red():
    sheet = draw.ranked_lists([GREY] * 2, [[GREY] * 3] * 2, [[1, 0, 0], [0, 0, 0]])
    assert count(sheet, draw.RIGHT) == frame() + key()
    assert count(sheet, draw.WRONG) == 5 * frame() + key()


def test_frames_follow_the_order_of_the_ranking():
    sheet = pixels(draw.ranked_lists([GREY], [[GREY] * 2], [[False, True]]))
    rank_1 = np.flatnonzero((sheet[100] == draw.WRONG).all(axis=-1))
    rank_2 = np.flatnonzero((sheet[100] == draw.RIGHT).all(axis=-1))
    assert len(rank_1) == len(rank_2) == 2 * 6
    assert rank_1.max() < rank_2.min()


def test_rows_of_a_ranked_list_may_differ_in_length():
    sheet = draw.ranked_lists([GREY] * 2, [[GREY], [GREY] * 3], [[True], [True] * 3])
    assert count(sheet, draw.RIGHT) == 4 * frame() + key()


def test_captions_take_room_and_ink():
    plain = draw.ranked_lists([GREY], [[GREY]], [[True]])
    told = draw.ranked_lists(
        [GREY],
        [[GREY]],
        [[True]],
        query_captions=["id 3, camera 1"],
        gallery_captions=[["distance 0.412\nid 3, camera 4"]],
    )
    assert told.height > plain.height
    assert count(told, layout.INK) > count(plain, layout.INK) > 0


def test_part_maps_are_brightest_where_the_map_is_highest():
    maps = np.zeros((1, 8, 4, 2))
    maps[0, 1, 2, 0] = 5
    maps[0, 6, 1, 1] = -1
    maps[0, :, :, 1] += 1
    maps[0, 6, 0, 1] = 7
    sheet = pixels(draw.part_maps(GREY[None], maps, ["head", "lower_leg"])).sum(axis=-1)
    top, gap, width = 29, 10, 128
    for part, (row, column) in enumerate([(1, 2), (6, 0)], 1):
        left = gap + part * (width + gap)
        tile = sheet[top : top + 256, left : left + width]
        y, x = np.unravel_index(tile.argmax(), tile.shape)
        assert (y // 32, x // 32) == (row, column)


def test_each_map_is_stretched_by_itself():
    ramp = np.linspace(0, 1, 32).reshape(1, 8, 4, 1)
    sheets = [
        pixels(draw.part_maps(GREY[None], maps, ["head"]))
        for maps in (ramp, ramp * 1e-3 + 8, ramp.astype(np.float16).astype(np.float32) * 64)
    ]
    for sheet in sheets[1:]:
        assert np.abs(sheet - sheets[0]).max() <= 1


def test_a_constant_map_shows_no_heat_and_raises_no_warning():
    sheet = draw.part_maps(GREY[None], np.full((1, 8, 4, 1), 3.0), ["head"])
    tile = pixels(sheet)[29 : 29 + 256, 148 : 148 + 128]
    assert (tile == tile[0, 0]).all()


def test_the_ramp_grows_steadily_lighter():
    colours = draw._ramp(np.linspace(0, 1, 50)).astype(float)
    lightness = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()


def joint_maps(cells, rows=16, columns=8):
    heat = np.zeros((rows, columns, skeleton.HEAT_CHANNELS))
    for joint, (x, y) in cells.items():
        heat[y, x, joint] = 1
    return heat


def test_a_pose_is_drawn_at_the_highest_cell_of_each_joint():
    # A right wrist alone, in the cell whose centre is at (2.5, 3.5) of 8 x 16 cells.
    drawn = pixels(poses.pose_overlay(GREY, joint_maps({4: (2, 3)})))
    changed = np.argwhere((drawn != 128).any(axis=-1))
    np.testing.assert_allclose(changed.mean(axis=0), [3.5 * 16 - 0.5, 2.5 * 16 - 0.5], atol=0.6)
    assert tuple(drawn[56, 40]) == poses._SIDES["right"]


def test_a_limb_is_drawn_when_both_its_joints_are_seen():
    elbow_and_wrist = joint_maps({3: (1, 2), 4: (6, 2)})
    between = (round(2.5 * 16), (4 * 16))
    assert tuple(pixels(poses.pose_overlay(GREY, elbow_and_wrist))[between]) != (128,) * 3
    elbow_and_wrist[..., 4] *= 0.05
    assert tuple(pixels(poses.pose_overlay(GREY, elbow_and_wrist))[between]) == (128,) * 3


def test_joints_in_pixels_draw_what_their_maps_draw():
    joints = np.full((len(skeleton.JOINTS), 2), np.nan)
    joints[3], joints[4] = (1.5 * 4, 2.5 * 4), (6.5 * 4, 2.5 * 4)
    np.testing.assert_array_equal(
        pixels(poses.pose_overlay(GREY, joints=joints)),
        pixels(poses.pose_overlay(GREY, joint_maps({3: (1, 2), 4: (6, 2)}))),
    )


def test_a_contact_sheet_fills_rows_from_the_left():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    tiles = [Image.new("RGB", (32, 64), colour) for colour in colours]
    sheet = draw.contact_sheet(tiles, columns=2, captions=["a", "b", "c"])
    first = [np.argwhere((pixels(sheet) == colour).all(axis=-1)).min(axis=0) for colour in colours]
    assert first[0][0] == first[1][0] < first[2][0]
    assert first[0][1] == first[2][1] < first[1][1]
    for colour in colours:
        assert count(sheet, colour) == 256 * 128


def test_crops_of_any_shape_are_shown_at_one_height():
    tiles = [np.zeros((10, 20, 3), np.uint8), np.zeros((300, 100, 3), np.uint8)]
    assert count(draw.contact_sheet(tiles, 2), (0, 0, 0)) == 256 * (512 + 85)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: draw.ranked_lists([GREY], [[GREY]], [[1, 0]]), "1 crops of a query.*2 flags"),
        (lambda: draw.ranked_lists([GREY], [], []), "1 query images came with 0 ranked lists"),
        (
            lambda: draw.ranked_lists([GREY], [[GREY]], [[1]], gallery_captions=[[]]),
            "1 crops of a query came with 0 captions",
        ),
        (lambda: draw.ranked_lists([], [], []), "no picture to show"),
        (
            lambda: draw.part_maps(GREY[None], np.ones((1, 2, 2, 3)), ["a"]),
            "for 1 part names",
        ),
        (lambda: draw.part_maps(GREY[None], np.ones((2, 2, 2, 1)), ["a"]), "1 images.*2 sets"),
        (lambda: poses.pose_overlay(GREY), "either heat or joints"),
        (lambda: poses.pose_overlay(GREY, joints=np.ones((3, 2))), r"\[18, 2\].*\(3, 2\)"),
        (lambda: poses.pose_overlay(GREY, np.ones((4, 4, 5))), r"18 or more\].*\(4, 4, 5\)"),
        (lambda: draw.contact_sheet([GREY], 0), "0 columns"),
        (lambda: draw.contact_sheet([GREY], 1, ["a", "b"]), "1 pictures came with 2 captions"),
        (lambda: draw.contact_sheet([GREY / 255]), r"uint8 RGB.*float64"),
    ],
)
def test_a_mistake_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
