"""Pictures as people have them: every common kind is read upright as RGB; what is no picture is refused in one line."""

import os
import zlib

import numpy as np
import pytest
from conftest import PHOTOS
from PIL import Image

from fer_lib.errors import InputError
from fer_lib.images import UnreadableImage, find_images, jpeg_complaint, read_image, writable_suffix, write_image

RAMP = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))  # (30, 40), dark left, bright right


def saved(tmp_path, name, image, **options):
    image.save(tmp_path / name, **options)
    return read_image(tmp_path / name)


def test_grey_becomes_three_equal_planes(tmp_path):
    image = saved(tmp_path, "a.png", Image.fromarray(RAMP))
    assert image.shape == (30, 40, 3) and image.dtype == np.uint8
    assert (image == RAMP[..., None]).all()


def test_16_bit_keeps_its_range(tmp_path):
    image = saved(tmp_path, "a.png", Image.fromarray(RAMP.astype(np.uint16) * 257))
    assert (image == RAMP[..., None]).all()


def test_alpha_is_laid_over_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (200, 10, 20, 255)
    image = saved(tmp_path, "a.png", Image.fromarray(pixels))
    assert image[0, 0].tolist() == [200, 10, 20] and image[1, 1].tolist() == [255, 255, 255]


def test_cmyk_jpeg_keeps_its_colours(tmp_path):
    red = Image.new("RGB", (32, 32), (220, 30, 30)).convert("CMYK")
    assert np.abs(saved(tmp_path, "a.jpg", red, quality=95)[16, 16].astype(int) - (220, 30, 30)).max() < 12


def test_palette_and_one_pixel(tmp_path):
    assert saved(tmp_path, "a.gif", Image.fromarray(RAMP).convert("P")).shape == (30, 40, 3)
    assert saved(tmp_path, "b.png", Image.new("RGB", (1, 1), (1, 2, 3))).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize(("tag", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_exif_rotation_is_applied(tmp_path, tag, corner):
    """The one white block, stored top left, lies where the tag's rotation takes it."""
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = tag
    image = saved(tmp_path, "a.jpg", Image.fromarray(pixels), exif=exif, quality=95)
    assert image.shape[:2] == ((16, 32) if tag in (1, 3) else (32, 16))
    assert image[corner][0] > 200 and (image > 128).mean() < 0.2


def test_a_very_large_picture(tmp_path):
    Image.new("L", (12000, 9000), 128).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (9000, 12000, 3)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated jpeg", "truncated png", "folder"])
def test_not_a_picture(tmp_path, kind):
    path = tmp_path / "a.jpg"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("not a picture")
    elif kind == "truncated jpeg":
        data = (PHOTOS / "grace_hopper.jpg").read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "truncated png":
        data = (PHOTOS / "astronaut.png").read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(UnreadableImage) as error:
        read_image(path)
    assert "\n" not in str(error.value) and "a.jpg" in str(error.value)


def test_a_png_with_a_wrong_checksum(tmp_path):
    """Half of the picture is replaced by a valid stream of zlib that is one bit off what the checksum was made for."""
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    at = data.index(b"IDAT")
    rows = bytearray(zlib.decompress(data[at + 4 : -16]))
    rows[700] ^= 1
    packed = zlib.compress(bytes(rows))
    chunk = len(packed).to_bytes(4, "big") + b"IDAT" + packed
    (tmp_path / "a.png").write_bytes(data[: at - 4] + chunk + data[-16:])  # with the old checksum
    with pytest.raises(UnreadableImage, match="checksum"):
        read_image(tmp_path / "a.png")


def test_a_damaged_tiff_is_refused_in_silence(tmp_path, capfd):
    Image.fromarray(RAMP).save(tmp_path / "a.tif", compression="tiff_adobe_deflate")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    start = data.index(b"\x78")  # of zlib's stream
    data[start + 2 : start + 12] = b"\xff" * 10
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(UnreadableImage):
        read_image(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_libjpeg_complains_where_pillow_is_silent(tmp_path, capfd):
    """A piece is missing, so that the rest of the picture is shifted; a cut-off one is refused already."""
    whole = PHOTOS / "grace_hopper.jpg"
    data = whole.read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:30_000] + data[32_000:])
    assert read_image(tmp_path / "a.jpg").shape == read_image(whole).shape
    assert jpeg_complaint(tmp_path / "a.jpg").startswith("Corrupt JPEG data")
    assert jpeg_complaint(whole) == jpeg_complaint(PHOTOS / "astronaut.png") == ""
    assert capfd.readouterr() == ("", "")


def test_write_is_complete_or_absent(tmp_path):
    write_image(tmp_path / "new" / "a.png", np.zeros((4, 5, 3), np.uint8))
    assert read_image(tmp_path / "new" / "a.png").shape == (4, 5, 3)
    with pytest.raises(KeyError):
        write_image(tmp_path / "new" / "b.png", {}["no array"])
    with pytest.raises(InputError):
        write_image(tmp_path / "new" / "a.png" / "c.png", np.zeros((4, 5, 3), np.uint8))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_find_images(tmp_path):
    for name in ("b.PNG", "a.jpg", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in find_images(tmp_path)] == ["a.jpg", "b.PNG"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        find_images(tmp_path / "empty")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(UnreadableImage, match="is not a file"):
            read_image(path)


def test_a_folder_is_called_one(tmp_path):
    with pytest.raises(UnreadableImage, match="is a folder"):
        read_image(tmp_path)


def test_a_name_that_the_system_refuses(tmp_path):
    with pytest.raises(UnreadableImage, match="name too long") as error:
        read_image(tmp_path / ("a" * 5000 + ".jpg"))
    assert "\n" not in str(error.value)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    """root may read everything, so the refusal is played."""

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.jpg").write_text("x")
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UnreadableImage, match="a.jpg: permission denied"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("width", "suffix", "expected"),
    [
        (16_383, ".webp", ".webp"),
        (16_384, ".webp", ".png"),
        (17_000, ".jpg", ".jpg"),
        (65_500, ".jpeg", ".jpeg"),
        (65_501, ".jpg", ".png"),
        (65_501, ".jpeg", ".png"),
        (70_000, ".png", ".png"),
        (70_000, ".bmp", ".bmp"),
        (9, ".TIF", ".tif"),
        (9, ".tiff", ".tiff"),
        (9, ".gif", ".png"),
        (9, "", ".png"),
    ],
)
def test_writable_suffix(tmp_path, width, suffix, expected):
    """Both ways round; what it answers can indeed be written."""
    for image in (np.zeros((2, width, 3), np.uint8), np.zeros((width, 2, 3), np.uint8)):
        assert writable_suffix(image, suffix) == expected
    write_image(tmp_path / f"a{expected}", image)
    assert read_image(tmp_path / f"a{expected}").shape == image.shape


@pytest.mark.parametrize(("width", "suffix"), [(17_000, ".webp"), (65_501, ".JPG"), (70_000, ".gif"), (9, ".xyz")])
def test_a_format_that_cannot_hold_the_picture(tmp_path, capfd, width, suffix):
    with pytest.raises(InputError, match="write a .png") as error:
        write_image(tmp_path / f"a{suffix}", np.zeros((2, width, 3), np.uint8))
    assert "another place" not in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir()) and capfd.readouterr() == ("", "")
