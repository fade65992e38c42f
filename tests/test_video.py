"""Videos in and out, on files made here with PyAV."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fer_lib import cli
from fer_lib import video as video_module
from fer_lib.demo_video import main as demo_main
from fer_lib.demo_video import make_demo_video
from fer_lib.errors import InputError, Interrupted
from fer_lib.faces import EMOTIONS, Faces
from fer_lib.video import CsvTable, VideoReader, VideoWriter, annotate_video, check_video

RED, GREEN, BLUE, WHITE = (230, 30, 30), (30, 200, 60), (40, 60, 220), (240, 240, 240)


def picture(index: int, width: int, height: int) -> np.ndarray:
    """Four coloured quarters, so that a turn or a swapped channel shows, and a grey band that tells the frame."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    image[height // 2 - 4 : height // 2 + 4, width // 4 : -width // 4] = 3 * index % 250
    return image


def make_video(
    path,
    count=40,
    size=(96, 64),
    codec="libx264",
    pixels="yuv420p",
    stamps_ms=None,
    rotation=None,
    sound_s=0.0,
    options=None,
    faststart=False,
    noise=False,
) -> Path:
    """25 frames/s, or at the given milliseconds. noise makes it large, so that a cut hits the frames."""
    width, height = size
    base = Fraction(1, 1000) if stamps_ms else Fraction(1, 25)
    random = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "faststart"} if faststart else {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = base
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if sound_s:
            _add_sound(container, sound_s)
        for index in range(count):
            image = picture(index, width, height)
            if noise:
                image = random.integers(0, 256, image.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = (stamps_ms[index] if stamps_ms else index), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(path)


def _add_sound(container, seconds):
    stream = container.add_stream("aac", rate=16000, layout="mono")
    container.start_encoding()
    for begin in range(0, int(seconds * 16000), 1024):
        wave = np.sin(np.arange(begin, begin + 1024) / 16000 * 2 * np.pi * 440).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, begin, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def stamps(path) -> list[float]:
    """The frames' times as PyAV itself gives them: the truth for the reader."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def one_face(image: np.ndarray) -> Faces:
    """A recogniser that always finds one happy face in the middle."""
    height, width = image.shape[:2]
    box = np.array([[width // 4, height // 4, width // 2, height // 2]], np.int32)
    emotion = np.full((1, len(EMOTIONS)), 0.05, np.float32)
    emotion[0, EMOTIONS.index("happy")] = 0.6
    return Faces(box, np.ones(1, np.float32), emotion, labels=EMOTIONS)


def no_face(image: np.ndarray) -> Faces:
    return Faces.empty()


def unchanged(image: np.ndarray, faces: Faces) -> np.ndarray:
    return image


def rows_of(path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def left_behind(folder) -> list[str]:
    return sorted(p.name for p in Path(folder).iterdir()) if Path(folder).exists() else []


def corners(image) -> list[np.ndarray]:
    """The mean colours of the corners: upper left, upper right, lower left, lower right."""
    ends = slice(8), slice(-8, None)
    return [image[y, x].reshape(-1, 3).mean(axis=0) for y in ends for x in ends]


def assert_corners(image, expected):
    for got, wanted in zip(corners(image), expected, strict=True):
        assert np.abs(got - wanted).max() < 25, (got, wanted)  # x264 at crf 20, chroma at half size, twice


VARIABLE = [index * 40 + (index * 7) % 31 for index in range(40)]  # gaps from 16 to 47 ms


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("constant.mp4", {}),
        ("variable.mp4", {"stamps_ms": VARIABLE}),
        ("late start.mkv", {"stamps_ms": [100 + t for t in VARIABLE]}),
        ("odd.mp4", {"size": (97, 63), "pixels": "yuv444p"}),
        ("old.avi", {"codec": "mpeg4"}),
        ("ünï cödé: 100%d.mp4", {}),
        ("ten_bit.mkv", {"pixels": "yuv420p10le"}),
    ],
)
def test_annotated_video_has_every_frame_at_its_time(tmp_path, name, how):
    source = make_video(tmp_path / name, **how)
    out, table = tmp_path / "out" / "a_fer.mp4", tmp_path / "out" / "a_fer.csv"
    summary = annotate_video(source, one_face, out, table_path=table, progress=False)

    truth = stamps(source)
    assert summary.frames == summary.faces == 40 and summary.skipped == 0 and summary.sound == "none"
    assert np.abs(np.array(stamps(out)) - truth).max() < 1e-6  # the source's time base, made finer, holds them exactly
    rows = rows_of(table)
    assert [int(row["frame"]) for row in rows] == list(range(40))
    assert np.abs(np.array([float(row["time_s"]) for row in rows]) - truth).max() < 0.001
    assert {row["measured"] for row in rows} == {"1"} and {row["emotion"] for row in rows} == {"happy"}
    assert {row["face_id"] for row in rows} == {"0"} and {row["happy_raw"] for row in rows} == {"0.6"}
    with VideoReader(source) as before, VideoReader(out) as after:
        assert (after.width, after.height, after.frames) == (before.width, before.height, 40)
        assert abs(after.duration_s - before.duration_s) <= 1 / 25
        for one, other in zip(before, after, strict=True):
            assert one.image.flags.c_contiguous and one.image.dtype == np.uint8
            assert_corners(one.image, [RED, GREEN, BLUE, WHITE])
            assert_corners(other.image, [RED, GREEN, BLUE, WHITE])
    assert left_behind(tmp_path / "out") == ["a_fer.csv", "a_fer.mp4"]


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        (90, [GREEN, WHITE, RED, BLUE]),  # counter-clockwise
        (-90, [BLUE, RED, WHITE, GREEN]),
        (180, [WHITE, BLUE, GREEN, RED]),
    ],
)
def test_rotation_is_applied_once(tmp_path, rotation, expected):
    source = make_video(tmp_path / "phone.mp4", count=5, rotation=rotation)
    with av.open(str(source)) as container:
        assert next(container.decode(video=0)).rotation in (rotation, -rotation if rotation == 180 else rotation)
    annotate_video(source, no_face, tmp_path / "out.mp4", progress=False)
    size = (64, 96) if abs(rotation) == 90 else (96, 64)
    for path in (source, tmp_path / "out.mp4"):
        with VideoReader(path) as video:
            assert (video.width, video.height) == size
            assert_corners(next(iter(video)).image, expected)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_mirrored_video_is_upright(tmp_path):
    path = tmp_path / "mirrored.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_rotation(0, hflip=True)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0, 96, 64))))
        container.mux(stream.encode(None))
    with VideoReader(path) as video:
        assert_corners(next(iter(video)).image, [GREEN, RED, WHITE, BLUE])


def test_frames_without_a_face_keep_their_rows(tmp_path):
    source = make_video(tmp_path / "empty_room.mp4", count=10)
    seen = []
    summary = annotate_video(
        source, no_face, tmp_path / "o.mp4", table_path=tmp_path / "o.csv", on_rows=seen.extend, progress=False
    )
    rows = rows_of(tmp_path / "o.csv")
    assert summary.faces == 0 and len(rows) == len(seen) == 10
    assert rows[3]["x"] == rows[3]["emotion"] == "" and float(rows[3]["time_s"]) == pytest.approx(0.12, abs=0.001)


def test_analysed_frames_are_handed_on_clean_and_in_order(tmp_path):
    source, seen = make_video(tmp_path / "a.mp4", count=12), []

    def keep(image, faces, time_s):
        seen.append((image.copy(), faces, time_s))

    annotate_video(source, one_face, tmp_path / "o.mp4", on_faces=keep, progress=False)
    assert [time_s for *_, time_s in seen] == pytest.approx([n / 25 for n in range(12)], abs=0.001)
    with VideoReader(source) as video:
        for frame, (image, faces, _) in zip(video, seen, strict=True):
            assert (image == frame.image).all() and len(faces) == 1 and faces.labels == EMOTIONS


def test_stamps_of_an_avi_with_b_frames_are_put_in_order(tmp_path):
    source = make_video(tmp_path / "b.avi", options={"bf": "2"})  # an AVI holds decoding times only
    with VideoReader(source) as video:
        times = np.array([frame.time_s for frame in video])
    assert np.allclose(np.diff(times), 1 / 25, atol=0.001)


def test_stamp_that_comes_twice_is_moved_on(tmp_path):
    whole = make_video(tmp_path / "whole.mp4", count=20, options={"bf": "0"})
    source = tmp_path / "twice.mkv"
    with av.open(str(source), "w") as output, av.open(str(whole)) as container:
        track = output.add_stream_from_template(container.streams.video[0])
        for index, packet in enumerate(p for p in container.demux(video=0) if p.size):
            packet.pts = packet.dts = packet.dts if index != 5 else packet.dts - 512
            packet.stream = track
            output.mux(packet)
    with VideoReader(source) as video:
        times = np.array([frame.time_s for frame in video])
    assert len(times) == 20 and (np.diff(times) > 0).all()
    assert times[-1] == pytest.approx(19 / 25, abs=0.001)


def test_clock_that_starts_again_goes_on(tmp_path):
    part = make_video(tmp_path / "part.ts", count=30)
    source = tmp_path / "joined.ts"
    source.write_bytes(part.read_bytes() * 2)
    with VideoReader(source) as video:
        times = np.array([frame.time_s for frame in video])
    assert len(times) == 60 and np.allclose(np.diff(times), 1 / 25, atol=0.001)


@pytest.mark.skipif(sys.platform == "win32", reason="no colon in a file's name there")
def test_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4", count=3).rename("12:30 talk.mp4")
    assert annotate_video("12:30 talk.mp4", no_face, "out:put.mp4", progress=False).frames == 3
    assert len(stamps(tmp_path / "out:put.mp4")) == 3


def test_transport_stream_starts_at_zero(tmp_path):
    source = make_video(tmp_path / "tv.ts", count=20)
    assert stamps(source)[0] > 0.01
    annotate_video(source, no_face, tmp_path / "o.mp4", table_path=tmp_path / "o.csv", progress=False)
    wanted = np.arange(20) / 25
    assert np.allclose([float(row["time_s"]) for row in rows_of(tmp_path / "o.csv")], wanted, atol=0.001)
    assert np.allclose(stamps(tmp_path / "o.mp4"), wanted, atol=0.001)


def test_sound_is_copied_and_may_be_longer_than_the_picture(tmp_path):
    source = make_video(tmp_path / "talk.mp4", count=25, sound_s=2.0)
    summary = annotate_video(source, one_face, tmp_path / "o.mp4", progress=False)
    assert (summary.sound, summary.sound_lost, summary.frames) == ("copied", "", 25)

    def sound(path):
        with av.open(str(path)) as container:
            return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(audio=0) if p.size]

    before, after = sound(source), sound(tmp_path / "o.mp4")
    assert [packet for _, packet in before] == [packet for _, packet in after] and len(before) > 20
    assert np.allclose([t for t, _ in before], [t for t, _ in after], atol=0.001)


def make_film_with_sounds(path, *tracks, count=25) -> Path:
    """tracks: (codec, language, frequency in Hz, seconds) each, at 16 kHz."""
    kinds = {"aac": "fltp", "pcm_s16le": "s16", "pcm_f32le": "flt"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        sounds = [container.add_stream(codec, rate=16000, layout="mono") for codec, *_ in tracks]
        for sound, (_, language, *_) in zip(sounds, tracks, strict=True):
            sound.metadata["language"] = language
        for sound, (codec, _, hertz, seconds) in zip(sounds, tracks, strict=True):
            for begin in range(0, int(seconds * 16000), 1024):
                wave = np.sin(np.arange(begin, begin + 1024) / 16000 * 2 * np.pi * hertz)[None] / 2
                wave = (wave * 32767).astype(np.int16) if "s16" in codec else wave.astype(np.float32)
                frame = av.AudioFrame.from_ndarray(wave, format=kinds[codec], layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 16000, begin, Fraction(1, 16000)
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index, 96, 64))
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(path)


def heard(path, track: int) -> tuple[str, str, float, float]:
    """(codec, language, seconds, loudest frequency in Hz) of one sound track."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        wave = np.concatenate([frame.to_ndarray().astype(float)[0] for frame in container.decode(stream)])
        spectrum = np.abs(np.fft.rfft(wave[4096:12288]))
        loudest = spectrum.argmax() * stream.rate / 8192
        return stream.codec_context.name, stream.metadata.get("language", ""), len(wave) / stream.rate, loudest


def test_sound_that_mp4_cannot_hold_is_converted(tmp_path):
    source = make_film_with_sounds(tmp_path / "pcm.mkv", ("pcm_s16le", "eng", 500, 2.0))
    summary = annotate_video(source, no_face, tmp_path / "o.mp4", progress=False)
    assert (summary.sound, summary.sound_lost) == ("converted", "")
    codec, _, seconds, hertz = heard(tmp_path / "o.mp4", 0)
    assert codec == "aac" and seconds == pytest.approx(2.0, abs=0.15) and hertz == pytest.approx(500, abs=4)
    assert len(stamps(tmp_path / "o.mp4")) == 25


def test_all_sound_tracks_are_kept_with_their_languages(tmp_path):
    tracks = ("aac", "eng", 400, 1.0), ("pcm_f32le", "fra", 600, 1.0), ("aac", "deu", 800, 1.5)
    source = make_film_with_sounds(tmp_path / "three.mkv", *tracks)
    summary = annotate_video(source, no_face, tmp_path / "o.mp4", progress=False)
    assert summary.sound == "converted"
    found = [heard(tmp_path / "o.mp4", number) for number in range(3)]
    assert [(codec, language) for codec, language, *_ in found] == [("aac", "eng"), ("aac", "fra"), ("aac", "deu")]
    for (*_, seconds, hertz), (*_, wanted_hertz, wanted_s) in zip(found, tracks, strict=True):
        assert seconds == pytest.approx(wanted_s, abs=0.15) and hertz == pytest.approx(wanted_hertz, abs=4)


def test_long_gaps_between_frames_stay(tmp_path):
    """As a recording of a screen: nothing happens for seconds, then much."""
    times = [0, 40, 80, 5000, 5040, 5100, 17000, 17020]
    source = make_video(tmp_path / "a screen.mkv", count=8, stamps_ms=times)
    summary = annotate_video(source, one_face, tmp_path / "o.mp4", table_path=tmp_path / "o.csv", progress=False)
    assert summary.frames == 8
    assert np.allclose(stamps(tmp_path / "o.mp4"), stamps(source), atol=1e-6)
    rows = rows_of(tmp_path / "o.csv")
    assert [float(row["time_s"]) for row in rows] == pytest.approx(np.array(times) / 1000, abs=1e-3)
    assert [row["face_id"] for row in rows] == ["0"] * 8  # each picture stood until the next: nobody was away


def test_corrupt_packet_in_the_middle_is_skipped_and_counted(tmp_path):
    source = _scratch(make_video(tmp_path / "scratched.mp4", options={"g": "1"}, noise=True))
    table = tmp_path / "o.csv"
    summary = annotate_video(source, one_face, tmp_path / "o.mp4", table_path=table, progress=False)
    assert (summary.frames, summary.skipped) == (39, 1)
    times = [round(float(row["time_s"]) * 25) for row in rows_of(table)]
    assert times == [n for n in range(40) if n != 20]


def _scratch(path: Path) -> Path:
    """Frame 20, a picture of its own, becomes bytes that mean nothing."""
    with av.open(str(path)) as container:
        position, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][20]
    content = bytearray(path.read_bytes())
    content[position : position + size] = bytes([0xFF]) * size
    path.write_bytes(content)
    return path


def test_a_folder_of_odd_videos(tiny_model, tmp_path, capsys):
    """All of them by one call of the script: only the scratched one has a note, and nobody an error."""
    folder, out = tmp_path / "ünï cödé and spaces", tmp_path / "out"
    folder.mkdir()
    make_video(folder / "variable rate.mp4", stamps_ms=VARIABLE)
    make_video(folder / "turned.mp4", rotation=90)
    make_video(folder / "odd.mp4", size=(97, 63), pixels="yuv444p")
    make_video(folder / "ten bits.mkv", pixels="yuv420p10le")
    make_video(folder / "long sound.mp4", sound_s=3.0)
    tracks = ("aac", "eng", 400, 1.0), ("pcm_s16le", "fra", 600, 1.0)
    make_film_with_sounds(folder / "two sounds.mkv", *tracks, count=40)
    _scratch(make_video(folder / "scratched.mp4", options={"g": "1"}, noise=True))
    arguments = ["video", str(folder), "--out", str(out), "--model", str(tiny_model), "--detector", "haar"]
    code = cli.main(arguments)
    told, errors = capsys.readouterr()
    assert code == 0 and told.count("40 frames, ") == 6 and told.count("39 frames, ") == 1, errors
    notes = [line for line in errors.splitlines() if "frames/s" not in line]
    assert len(notes) == 1 and "scratched.mp4: 1 damaged packet could not be decoded" in notes[0]
    names = [f"{path.stem}_fer" for path in folder.iterdir()]
    assert left_behind(out) == sorted(f"{name}{end}" for name in names for end in (".csv", ".mp4"))
    sounds = {}
    for name in names:
        with av.open(str(out / f"{name}.mp4")) as container:
            sounds[name] = len(container.streams.audio)
    assert {name: count for name, count in sounds.items() if count} == {"long sound_fer": 1, "two sounds_fer": 2}


def test_frame_that_ffmpeg_mends_is_kept_and_counted(tmp_path):
    """Bits inside one picture of many: H.264 shows it with blocks of the picture before."""
    source = make_video(tmp_path / "scratched.mp4", options={"g": "1"}, noise=True)
    with av.open(str(source)) as container:
        position, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][20]
    content = bytearray(source.read_bytes())
    content[position + size // 2 : position + size // 2 + 20] = bytes([0xFF]) * 20
    source.write_bytes(content)
    summary = annotate_video(source, one_face, tmp_path / "o.mp4", progress=False)
    assert (summary.frames, summary.skipped, summary.damaged) == (40, 0, 1)


def test_frames_before_the_first_key_frame_are_counted(tmp_path):
    """FFmpeg drops them in silence."""
    whole = make_video(tmp_path / "whole.mp4", options={"g": "20", "bf": "0", "sc_threshold": "0"})
    source = tmp_path / "late.ts"
    with av.open(str(source), "w") as output, av.open(str(whole)) as container:
        track = output.add_stream_from_template(container.streams.video[0])
        for packet in [p for p in container.demux(video=0) if p.size][5:]:
            packet.stream = track
            output.mux(packet)
    summary = annotate_video(source, no_face, tmp_path / "o.mp4", progress=False)
    assert (summary.frames, summary.skipped) == (20, 15)


def _cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


BAD = {
    "missing.mp4": lambda p: p,
    "folder.mp4": lambda p: p.mkdir(),
    "empty.mp4": lambda p: p.write_bytes(b""),
    "noise.mp4": lambda p: p.write_bytes(np.random.default_rng(1).bytes(60_000)),
    "noise.avi": lambda p: p.write_bytes(np.random.default_rng(2).bytes(60_000)),
    "text.mp4": lambda p: p.write_text("This is no video.\n" * 200),
    "text.nfo": lambda p: p.write_text("This is no video.\n" * 200),  # FFmpeg plays it as text art
    "no_index.mp4": lambda p: _cut(make_video(p, noise=True), 0.6),
    "tail.mp4": lambda p: _cut(make_video(p, noise=True), 0.995),  # within the index
    "faststart.mp4": lambda p: _cut(make_video(p, noise=True, faststart=True), 0.6),
    "faststart_tail.mp4": lambda p: _cut(make_video(p, noise=True, faststart=True), 0.97),
    "cut.mkv": lambda p: _cut(make_video(p, noise=True), 0.6),
    "cut_tail.mkv": lambda p: _cut(make_video(p, noise=True), 0.97),
    "cut.avi": lambda p: _cut(make_video(p, codec="mpeg4", noise=True), 0.6),
    "cut.flv": lambda p: _cut(make_video(p, count=100, codec="flv1", noise=True), 0.6),
    "header.mp4": lambda p: _cut(make_video(p, faststart=True), 0.02),
    "sound.mp4": lambda p: _sound_only(p),
    "zeros.mp4": lambda p: _zero_tail(make_video(p, count=100, noise=True, faststart=True)),
}


def _sound_only(path):
    with av.open(str(path), "w") as container:
        _add_sound(container, 1.0)


def _zero_tail(path):
    """What an interrupted download leaves that reserved its space."""
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + bytes(len(content) - half))


@pytest.mark.parametrize("name", BAD)
def test_bad_video_is_refused_in_one_line_and_leaves_nothing(tmp_path, name, capfd):
    path = tmp_path / name
    BAD[name](path)
    out = tmp_path / "out"
    with pytest.raises(InputError) as caught:
        annotate_video(path, one_face, out / "o.mp4", table_path=out / "o.csv", progress=False)
    message = str(caught.value)
    assert name in message and "\n" not in message and (";" in message or "no such file" in message)
    assert left_behind(out) == []
    assert capfd.readouterr() == ("", "")  # FFmpeg's own complaints are not shown beside ours


def test_cut_off_is_told_by_name_before_any_work(tmp_path):
    path = _cut(make_video(tmp_path / "cut.mkv", noise=True), 0.6)
    with pytest.raises(InputError, match="cut off"):
        VideoReader(path)


def test_output_that_cannot_be_written(tmp_path):
    source = make_video(tmp_path / "a.mp4", count=3)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        annotate_video(source, no_face, tmp_path / "file" / "o.mp4", progress=False)
    with pytest.raises(InputError, match="overwrite the input"):
        annotate_video(source, no_face, tmp_path / "." / "a.mp4", progress=False)
    with pytest.raises(InputError, match="written as"):
        annotate_video(source, no_face, tmp_path / "o.gif", progress=False)
    assert len(stamps(source)) == 3 and left_behind(tmp_path) == ["a.mp4", "file"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size there")
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    import resource

    source = make_video(tmp_path / "a.mp4", noise=True, count=60)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(InputError, match="cannot write .*o.mp4: .*free some space"):
            annotate_video(source, no_face, tmp_path / "out" / "o.mp4", progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left_behind(tmp_path / "out") == []


def test_interrupt_keeps_a_video_that_plays_and_its_table(tmp_path):
    source = make_video(tmp_path / "long.mp4", sound_s=1.6)
    seen = []

    def interrupted(image):
        if len(seen) == 15:
            raise KeyboardInterrupt
        seen.append(1)
        return one_face(image)

    out, table = tmp_path / "o.mp4", tmp_path / "o.csv"
    with pytest.raises(Interrupted, match=re.escape(f"15 frames of {source} are in {out} and {table}")):
        annotate_video(source, interrupted, out, table_path=table, progress=False)
    assert len(rows_of(tmp_path / "o.csv")) == len(stamps(tmp_path / "o.mp4")) == 15
    with VideoReader(tmp_path / "o.mp4") as video:
        assert video.duration_s == pytest.approx(0.6, abs=0.04)


def test_interrupt_before_the_first_frame_leaves_nothing(tmp_path):
    source = make_video(tmp_path / "a.mp4", count=5)

    def interrupted(image):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="no frame of .*a.mp4 was written"):
        annotate_video(source, interrupted, tmp_path / "out" / "o.mp4", progress=False)
    assert left_behind(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("constant.mp4", {"count": 120}),
        ("variable.mkv", {"stamps_ms": [100 + 3 * t for t in VARIABLE]}),
        ("old.avi", {"codec": "mpeg4"}),
        ("tv.ts", {}),
        ("turned.mp4", {"rotation": 90}),
    ],
)
def test_single_pictures_are_those_of_the_whole_reading(tmp_path, name, how):
    """By jumps or, as in an AVI and a transport stream, by reading on."""
    path = make_video(tmp_path / name, **how)
    with VideoReader(path) as film:
        frames = list(film)
    for indices in ([0], [39, 3, 4, 17], [len(frames) - 1, 1]):
        with VideoReader(path) as film:
            found = list(film.pictures({index: round(frames[index].time_s, 6) for index in indices}))
        assert [index for index, _ in found] == sorted(indices)
        assert all((image == frames[index].image).all() for index, image in found)


def test_a_picture_is_found_without_decoding_all(tmp_path):
    path, decoded = make_video(tmp_path / "long.mp4", count=500, options={"g": "25"}), []
    with VideoReader(path) as film:
        upright = film._upright
        film._upright = lambda frame: decoded.append(frame) or upright(frame)
        ((index, _),) = film.pictures({430: 430 / 25})
    assert index == 430 and len(decoded) == 1


def test_written_file_that_cannot_be_read_back_is_no_success(tmp_path, monkeypatch):
    source, out = make_video(tmp_path / "a.mp4", count=20, noise=True), tmp_path / "out"
    close = VideoWriter._read_back

    def spoilt(writer):
        content = writer._temporary.read_bytes()
        writer._temporary.write_bytes(content[: len(content) // 2])
        close(writer)

    monkeypatch.setattr(VideoWriter, "_read_back", spoilt)
    with pytest.raises(InputError, match="cannot write .*o.mp4: .*read back; free some space"):
        annotate_video(source, no_face, out / "o.mp4", table_path=out / "o.csv", progress=False)
    assert left_behind(out) == []


def test_error_of_the_recogniser_leaves_nothing(tmp_path):
    source, out = make_video(tmp_path / "a.mp4", count=5), tmp_path / "out"

    def broken(image):
        raise RuntimeError("model")

    with pytest.raises(RuntimeError, match="model"):
        annotate_video(source, broken, out / "o.mp4", table_path=out / "o.csv", progress=False)
    assert left_behind(out) == []


def test_writer_refuses_wrong_frames_and_an_empty_video(tmp_path):
    with pytest.raises(ValueError, match="frames must be"), VideoWriter(tmp_path / "o.mp4", 96, 64) as writer:
        writer.write(np.zeros((96, 64, 3), np.uint8), 0.0)
    with pytest.raises(InputError, match="no frame"), VideoWriter(tmp_path / "o.mp4", 96, 64):
        pass
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".m4v"])
def test_other_containers_are_read_back_too(tmp_path, suffix):
    source = make_film_with_sounds(tmp_path / "a.mkv", ("pcm_s16le", "eng", 500, 1.0), count=60)
    summary = annotate_video(source, no_face, tmp_path / f"o{suffix}", progress=False)
    assert summary.frames == len(stamps(tmp_path / f"o{suffix}")) == 60
    assert heard(tmp_path / f"o{suffix}", 0)[:2] == ("aac", "eng")


def test_index_stands_in_front(tmp_path):
    with VideoWriter(tmp_path / "o.mp4", 96, 64) as writer:
        for index in range(5):
            writer.write(picture(index, 96, 64), index / 25)
    content = (tmp_path / "o.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_progress_is_a_plain_line_where_there_is_no_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(video_module, "PROGRESS_EVERY_S", 0.0)
    source = make_video(tmp_path / "a.mp4", count=4)
    annotate_video(source, no_face, tmp_path / "o.mp4")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and lines[-1].startswith("a.mp4: 4 of 4 frames, ") and lines[-1].endswith(" 0 s left")


BAR = """
import sys, time
from fer_lib.video import Progress
with Progress("a.mp4", 40) as bar:
    for _ in range(30):
        bar.step()
        time.sleep(0.02)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_progress_is_a_bar_on_a_terminal():
    """With how many frames are done, their rate, and the time that is left."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 90))
    root = Path(video_module.__file__).parents[1]
    subprocess.run([sys.executable, "-c", BAR], cwd=root, stderr=theirs, check=True)
    os.close(theirs)
    told = os.read(ours, 100_000).decode()
    os.close(ours)
    assert re.search(r"a\.mp4: +\d+%\|.*\| [123]\d/40 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+frame/s\]", told), told


def test_importing_is_light():
    code = "import sys, fer_lib.video; print([m for m in ('av', 'pandas', 'tensorflow', 'tqdm') if m in sys.modules])"
    root = Path(video_module.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.strip() == "[]", done.stderr


PHOTOS = Path(__file__).parents[1] / "test_photo"
PICTURES = [PHOTOS / "astronaut.png", PHOTOS / "grace_hopper.jpg"]


def test_demo_video_has_one_face_none_and_two(tmp_path):
    path = make_demo_video(PICTURES, tmp_path / "demo.mp4", seconds=1.6, size=(320, 180))
    with VideoReader(path) as video:
        assert (video.width, video.height, video.frames) == (320, 180, 40)
        assert video.duration_s == pytest.approx(1.6, abs=0.001)
        frames = [frame.image for frame in video]
    sharpness = np.array([np.abs(np.diff(image.astype(int), axis=1)).mean() for image in frames])
    assert sharpness[24] < 0.25 * sharpness[[3, 15, 36]].min()  # the stretch without a face is only blurred ground
    left, right = frames[36][:, :160], frames[36][:, 160:]
    assert np.abs(left.mean(axis=(0, 1)) - right.mean(axis=(0, 1))).max() > 20  # two different pictures
    with pytest.raises(InputError, match="no pictures"):
        make_demo_video([], tmp_path / "none.mp4")


def test_demo_video_has_the_same_bytes_every_time(tmp_path):
    code = (
        "import sys; from fer_lib.demo_video import make_demo_video as m; m(sys.argv[2:], sys.argv[1], 1.6, (320, 180))"
    )
    contents = []
    for fill in ("85", "170"):  # what glibc fills fresh memory with, so that reading it would show
        path = tmp_path / f"{fill}.mp4"
        environment = os.environ | {"MALLOC_PERTURB_": fill}
        subprocess.run(
            [sys.executable, "-c", code, str(path), *map(str, PICTURES)], cwd=PHOTOS.parent, env=environment, check=True
        )
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "vid\udcff.mp4", "locked.mp4"])
def test_path_that_cannot_be_opened_is_one_line(tmp_path, name, monkeypatch):
    path = tmp_path / name
    if name == "locked.mp4":
        make_video(path, count=3)

        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)  # root may read everything, so a mode bit would not do
    with pytest.raises(InputError) as caught:
        VideoReader(path)
    message = str(caught.value)
    message.encode()  # it can be shown
    assert "\n" not in message and ";" in message and "video" not in message.split(";")[1]


def test_check_video_refuses_what_the_reader_refuses(tmp_path):
    check_video(make_video(tmp_path / "good.mp4", count=3))
    with pytest.raises(InputError, match="cut off"):
        check_video(_cut(make_video(tmp_path / "cut.mkv", noise=True), 0.6))


def test_table_takes_a_source_that_is_no_text(tmp_path):
    with CsvTable(tmp_path / "o.csv", ("source",)) as table:
        table.write([{"source": "vid\udcff.mp4"}])
    assert rows_of(tmp_path / "o.csv") == [{"source": "vid\\udcff.mp4"}]


def test_demo_video_as_a_program(tmp_path, monkeypatch, capsys):
    assert demo_main([str(tmp_path / "demo.gif")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "demo.gif" in error
    monkeypatch.setattr("fer_lib.demo_video.make_demo_video", lambda photos, out: Path(out))
    assert demo_main(["demo.mp4"]) == 0 and capsys.readouterr().out == "wrote demo.mp4\n"
    with pytest.raises(SystemExit) as caught:
        demo_main([])
    assert caught.value.code == 2
