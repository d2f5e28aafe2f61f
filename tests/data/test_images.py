import contextlib
import io
import os
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fgsam_jax.data import checks
from fgsam_jax.data.images import decode, read_image, resized
from fgsam_jax.errors import InputError

WHITE = 255


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)


def file(image, form="png", **options):
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(encoded):
    return np.asarray(decode(encoded))


def test_sixteen_bits_of_grey_are_the_picture_of_eight(picture):
    grey = picture[..., 0]
    deep = grey.astype(np.uint16) * 257
    np.testing.assert_array_equal(pixels(file(deep)), np.repeat(grey[..., None], 3, -1))


def test_sixteen_bits_of_grey_and_of_colour_become_the_same():
    deep = np.array([[0, 255, 256, 40000, 65535]], np.uint16)
    header = file(np.zeros((1, 5, 3), np.uint8))
    colour = sixteen_bit_rgb(np.repeat(deep[..., None], 3, -1), header)
    np.testing.assert_array_equal(pixels(file(deep)), pixels(colour))


def sixteen_bit_rgb(deep, like):
    """A PNG that Pillow cannot write: the header and the pixels of one of 8 bits replaced."""
    height, width, _ = deep.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    size = np.array([width, height], ">u4").tobytes()
    return like[:8] + b"".join(
        chunk(name, content)
        for name, content in (
            (b"IHDR", size + bytes([16, 2, 0, 0, 0])),
            (b"IDAT", zlib.compress(raw)),
            (b"IEND", b""),
        )
    )


def chunk(name, content):
    check = zlib.crc32(name + content)
    return len(content).to_bytes(4) + name + content + check.to_bytes(4)


def test_the_transparent_value_of_sixteen_bits_shows_the_background():
    deep = np.array([[1000, 40000]], np.uint16)
    encoded = file(deep)
    key = chunk(b"tRNS", (1000).to_bytes(2))
    keyed = encoded[:33] + key + encoded[33:]
    np.testing.assert_array_equal(pixels(keyed)[0, :, 0], [WHITE, 40000 >> 8])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_an_image_is_turned_as_its_exif_says(orientation, form):
    upright = np.zeros((32, 16, 3), np.uint8)
    upright[:8, :8] = 255
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = Image.fromarray(upright)
    stored = stored if back is None else stored.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = pixels(file(stored, form, exif=exif)).astype(int)
    assert shown.shape == upright.shape
    assert np.abs(shown - upright).max() < 8


def test_a_broken_exif_leaves_the_image_as_it_is(picture):
    encoded = file(picture, "jpeg", quality=95)
    for exif in (b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff"):
        block = b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pixels(encoded[:2] + block + encoded[2:])
        np.testing.assert_array_equal(found, pixels(encoded))


def hidden(colours, alpha):
    """An RGBA image with these colours; where alpha is 0 nobody sees them."""
    return Image.fromarray(np.dstack([colours, alpha]))


def test_colours_that_nobody_sees_do_not_count(picture):
    alpha = np.full((6, 4), 255, np.uint8)
    alpha[:, :2], alpha[0, 2] = 0, 128
    other = picture.copy()
    other[:, :2] = 7
    found = pixels(file(hidden(picture, alpha)))
    np.testing.assert_array_equal(found, pixels(file(hidden(other, alpha))))
    assert (found[:, :2] == WHITE).all()
    np.testing.assert_array_equal(found[1:, 2:], picture[1:, 2:])
    half = (picture[0, 2].astype(int) * 128 + WHITE * 127) / 255
    assert np.abs(found[0, 2] - half).max() <= 1


def with_key(key):
    return {"transparency": key}


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.new("LA", (2, 2), (9, 0)), {}),
        (Image.new("P", (2, 2), 0), with_key(0)),
        (Image.new("P", (2, 2), 0), with_key(bytes([0, 255]))),
        (Image.new("L", (2, 2), 9), with_key(9)),
        (Image.new("RGB", (2, 2), (9, 8, 7)), with_key((9, 8, 7))),
        (Image.new("1", (2, 2), 0), with_key(0)),
    ],
    ids=["grey with alpha", "palette", "palette of alphas", "grey", "colour", "bits"],
)
def test_every_kind_of_transparency_shows_the_background(image, options):
    assert (pixels(file(image, **options)) == WHITE).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA"])
def test_opaque_images_of_any_mode_are_as_pillow_has_them(picture, mode):
    image = Image.fromarray(picture).convert(mode)
    np.testing.assert_array_equal(pixels(file(image)), np.asarray(image.convert("RGB")))


def test_cmyk_of_a_jpeg_is_as_pillow_has_it(picture):
    encoded = file(Image.fromarray(picture).convert("CMYK"), "jpeg")
    with Image.open(io.BytesIO(encoded)) as image:
        np.testing.assert_array_equal(pixels(encoded), np.asarray(image.convert("RGB")))


def test_a_record_is_seen_as_its_file_is(tmp_path, picture):
    path = tmp_path / "a.png"
    path.write_bytes(file(picture[..., 0].astype(np.uint16) * 257))
    encoded, image = read_image(path)
    np.testing.assert_array_equal(resized({"image": encoded}, 6, 4)["image"], np.asarray(image))


def test_a_picture_of_several_is_the_first(picture):
    several = file(picture, "mpo", save_all=True, append_images=[Image.new("RGB", (4, 6))])
    np.testing.assert_array_equal(pixels(several), pixels(file(picture, "jpeg")))


@pytest.mark.parametrize("form", ["gif", "tiff", "webp", "ppm", "eps", "ico", "pdf"])
def test_other_formats_are_refused_whatever_their_name(tmp_path, picture, form):
    (tmp_path / "a.jpg").write_bytes(file(picture, form))
    with pytest.raises(InputError, match=r"a\.jpg cannot be read as an image: .* JPEG, PNG or BMP"):
        read_image(tmp_path / "a.jpg")


def test_postscript_under_another_name_starts_no_program(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 20\n%%EndComments\n%%EOF\n"
    (tmp_path / "a.jpg").write_text(script)
    with pytest.raises(InputError, match="of another format"):
        read_image(tmp_path / "a.jpg")
    assert not (tmp_path / "started").exists()


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded():
    for size in ((2**13 + 1, 2**13), (2**15, 2**15)):
        header = np.array(size, ">u4").tobytes() + bytes([8, 0, 0, 0, 0])
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"\0" * 99)
        with pytest.raises(InputError, match=r"cannot be read as an image: .*pixels"):
            decode(bomb)


def test_a_text_that_unpacks_without_end_is_refused(picture):
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "x" * 10_000_000, zip=True)
    with pytest.raises(InputError, match="too large"):
        decode(file(picture, pnginfo=text))


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe", "zero", "loop", "folder"):
        path = tmp_path / f"{name}.jpg"
        with pytest.raises(InputError, match=f"{name}.jpg cannot be read: "):
            read_image(path)
        assert f"{name}.jpg cannot be read: " in checks.inspect(path).fault


@pytest.mark.parametrize("encoded", [b"", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"])
def test_what_is_no_image_ends_in_one_short_line(encoded):
    with pytest.raises(InputError, match=r"^image 3 cannot be read as an image: ") as raised:
        decode(encoded, name="image 3")
    assert "0x" not in str(raised.value)


def test_a_cut_or_changed_file_is_an_image_or_an_input_error(picture):
    random = np.random.default_rng(0)
    for form in ("png", "jpeg", "bmp"):
        whole = np.frombuffer(file(picture, form), np.uint8)
        for _ in range(60):
            damaged = whole.copy()
            damaged[random.integers(0, len(damaged), 3)] = random.integers(0, 256, 3)
            damaged = damaged[: random.integers(len(damaged) // 2, len(damaged) * 2)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with contextlib.suppress(InputError):
                    assert decode(damaged.tobytes()).mode == "RGB"
