"""Videos in and out: upright RGB frames at the file's own times, and back to H.264 with the sound."""

from __future__ import annotations

import csv
import heapq
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from fer_lib.errors import InputError, Interrupted
from fer_lib.faces import Faces
from fer_lib.files import replacing, uninterrupted
from fer_lib.messages import counted, inform, one_line
from fer_lib.pipeline import Analysis
from fer_lib.records import columns
from fer_lib.runtime import thread_limit
from fer_lib.track import SMOOTH_S

# PyAV is imported where a file is opened: 0.15 s that a script working on photos need not pay.

WRITABLE = (".mp4", ".m4v", ".mov", ".mkv")
CRF = 20  # x264's constant quality: no difference is seen beside the source, at a third of the size of 14
PRESET = "ultrafast"  # of x264: a fifth of the work of its "fast" for files two to five times as large
KEY_EVERY_S = 2.0  # so that a player jumps at once
NUDGE_S = 0.001  # what a stamp that does not increase is moved on by
SAME_S = 0.0005  # two times no further apart are one
TEXT_FORMATS = frozenset("tty bin xbin adf idf".split())  # FFmpeg would play a text file as text art
SOUND_COPIED = frozenset("aac mp3 mp2 ac3 eac3 opus flac alac".split())  # what mp4 and its players take as it is
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz, those that every player takes
AAC_BITS = 96_000  # per second and channel
PROGRESS_EVERY_S = 10.0


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video."""

    index: int  # from 0
    time_s: float  # the file's own stamp; strictly increasing
    image: np.ndarray  # (H, W, 3) uint8 RGB, contiguous, upright
    duration_s: float | None  # None when the file does not say


class VideoReader:
    """The frames of a video file in presentation order, each turned upright; a context manager.

    with VideoReader(path) as video:
        for frame in video: ...

    `width height` are those of the upright picture, `rate` is in frames/s, `frames` counts the packets in the file (the
    frames, but for damage), `duration_s` runs from the first frame's start to the last one's end.

    Times are the file's own, so a video may start at 0.1 s; only MPEG transport and programme streams, whose clock
    starts anywhere, are moved to start at 0. A picture of another size in the middle is scaled to the first one's size.

    A packet that cannot be decoded is left out and counted in `skipped`, as are those before the first that can. A
    frame that FFmpeg says it had to mend is counted in `damaged`. InputError when the file is missing, empty, no video,
    yields no frame, or is cut off: its own headers promise more bytes, frames or seconds than there are. All but a file
    whose tail is there and cannot be decoded is found on opening, before hours of work.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.skipped = self.damaged = 0
        _check_file(self.path)
        scan = _scan(self.path)
        self.frames, self.duration_s, self._start_s = scan.frames, scan.end_s - scan.start_s, scan.start_s
        self.rate, self.time_base, self.pixel_aspect = scan.rate, scan.time_base, scan.pixel_aspect
        self.offset_s = scan.offset_s  # subtracted from the stamps
        self._no_presentation_stamps = scan.format == "avi"
        self._jumps = not self._no_presentation_stamps and not scan.offset_s
        self._container = _open(self.path)
        self._stream = _video_stream(self._container, self.path)
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = thread_limit()
        self._reformatter = None
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            self.close()
            raise InputError(f"{self.path}: no frame of it can be decoded; convert it to H.264 mp4 and try again")
        late = round((self._first.time_s - self._start_s) * self.rate)  # FFmpeg waits for a key frame in silence
        self.skipped = max(self.skipped, late)
        self.height, self.width = self._first.image.shape[:2]
        if _turned(self._first_matrix):
            self.pixel_aspect = 1 / self.pixel_aspect

    def __iter__(self) -> Iterator[Frame]:
        last = self._first
        if last is None:
            raise ValueError("a VideoReader is read once; open the file again")
        self._first = None
        yield last
        for frame in self._decoded:
            last = frame
            yield frame
        read_s = last.time_s + (last.duration_s or 1 / self.rate) - self._start_s
        if self.duration_s - read_s > _tolerance(self.duration_s):
            raise InputError(f"{self.path}: only {read_s:.1f} of {self.duration_s:.1f} s can be decoded; copy it again")

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._decoded = iter(())
        self._container.close()

    def pictures(self, wanted: dict[int, float]) -> Iterator[tuple[int, np.ndarray]]:
        """(index, picture) of the frames wanted, {index: time_s}, in order; in place of the iteration over all.

        Jumps to the key frame before each, where the file's own stamps can be trusted to name the frames. What is not
        found so comes last, by reading the file through up to it.
        """
        import av

        left = dict(sorted(wanted.items()))
        if self._jumps:
            with suppress(av.FFmpegError):
                for index, image in self._jump(left):
                    del left[index]
                    yield index, image
        if left:
            with VideoReader(self.path) as film:
                for frame in film:
                    if left.pop(frame.index, None) is not None:
                        yield frame.index, frame.image
                    if not left:
                        break

    def _jump(self, wanted: dict[int, float]) -> Iterator[tuple[int, np.ndarray]]:
        frames, last_s = iter(()), -np.inf
        for index, time_s in list(wanted.items()):
            if not last_s < time_s < last_s + KEY_EVERY_S:  # nearer ones are read on to
                self._container.seek(int((time_s - SAME_S) / self._stream.time_base), stream=self._stream)
                frames = self._container.decode(self._stream)
            for frame in frames:
                last_s = -np.inf if frame.time is None else frame.time
                if last_s > time_s - SAME_S:
                    if last_s < time_s + SAME_S:
                        yield index, self._upright(frame)
                    break

    def _decode(self) -> Iterator[Frame]:
        import av

        index, last, shift = 0, None, 0.0
        stamps: list[float] = []  # decoding stamps of packets not yet seen as frames; only where there are no others
        for packet in _packets(self._container, self._stream, self._count_skipped):
            if not packet.size and packet.dts is not None:
                continue  # "the last picture again" in an AVI; the decoder would take it for the end
            if packet.dts is not None:
                heapq.heappush(stamps, float(packet.dts * packet.time_base))
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.skipped += 1 if packet.size else 0
                if packet.dts is not None:
                    stamps.remove(float(packet.dts * packet.time_base))
                    heapq.heapify(stamps)
                continue
            for frame in frames:
                # decoders answer in presentation order, so the smallest waiting stamp is this frame's
                smallest = heapq.heappop(stamps) if stamps else None
                stamp = smallest if self._no_presentation_stamps else frame.time
                at = None if stamp is None else stamp - self.offset_s + shift
                if last is None:
                    at = self._start_s if at is None else at
                elif at is None:
                    at = last + 1 / self.rate
                elif at < last - 0.5:  # the clock starts again, as in files put end to end
                    shift += last + 1 / self.rate - at
                    at = last + 1 / self.rate
                elif at <= last:
                    at = last + NUDGE_S
                last = at
                self.damaged += frame.is_corrupt
                duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else None
                yield Frame(index, at, self._upright(frame), duration)
                index += 1

    def _count_skipped(self) -> None:
        self.skipped += 1

    def _upright(self, frame) -> np.ndarray:
        from av.video.reformatter import VideoReformatter

        if self._reformatter is None:  # kept, since making one costs more than using it
            self._reformatter = VideoReformatter()
            self._size = frame.width, frame.height
            self._first_matrix = _display_matrix(frame)
        width, height = self._size
        image = self._reformatter.reformat(frame, width=width, height=height, format="rgb24").to_ndarray()
        return np.ascontiguousarray(_apply_matrix(image, self._first_matrix))


def video_comment(path) -> str:
    """What a VideoWriter was given as `comment`; "" for none. InputError when the file is no video."""
    with _open(Path(path)) as container:
        return container.metadata.get("comment", "")


def check_video(path) -> None:
    """InputError when a VideoReader would refuse the file on opening."""
    VideoReader(path).close()


@dataclass
class _Scan:
    """What a walk over all packets, without decoding them, tells about a file."""

    format: str
    frames: int
    start_s: float
    end_s: float
    offset_s: float
    rate: float
    time_base: Fraction
    pixel_aspect: Fraction


def _scan(path: Path) -> _Scan:
    """Microseconds a packet, and it gives the exact number of frames; InputError when the file is cut off."""
    import av

    reason = _missing_bytes(path)
    if reason:
        raise InputError(f"{path}: the video is cut off ({reason}); copy or download it again")
    with _open(path) as container:
        stream = _video_stream(container, path)
        offset = (container.start_time or 0) / av.time_base if _clock_starts_anywhere(container) else 0.0
        indexed = len(stream.index_entries)
        frames = packets = step = 0
        start = end = end_of_all = position = 0.0
        corrupt = False
        for packet in _packets(container, None):
            corrupt, position = packet.is_corrupt, (packet.pos or 0) + packet.size
            stamp = packet.pts if packet.pts is not None else packet.dts
            packet_end = 0.0
            if stamp is not None:
                packet_end = float((stamp + (packet.duration or 0)) * packet.time_base) - offset
                end_of_all = max(end_of_all, packet_end)
            if packet.stream_index != stream.index:
                continue
            packets += 1
            if packet.is_discard:
                continue
            if stamp is not None:
                begin = float(stamp * packet.time_base) - offset
                start = begin if frames == 0 else min(start, begin)
                end, step = max(end, packet_end), step or packet.duration or 0
            frames += 1
        if not frames:
            raise InputError(f"{path}: the video has no frames; copy it again from its source")
        rate = stream.average_rate or stream.guessed_rate
        rate = float(rate) if rate and 0 < rate <= 1000 else 25.0
        end = max(end, start + (frames / rate if end <= start else 0))
        promised = container.duration / av.time_base if container.duration else 0.0
        promised += 0.0 if offset or container.format.name.startswith("matroska") else max(0.0, start)
        lacking = promised - max(end_of_all, end)
        cut_index = packets < indexed
        if (corrupt and position >= container.size) or cut_index or lacking > _tolerance(promised):
            raise InputError(f"{path}: the video is cut off after {end:.1f} s; copy or download it again")
        name, base = container.format.name, stream.time_base or Fraction(1, 90000)
        return _Scan(name, frames, start, end, offset, rate, base, stream.sample_aspect_ratio or Fraction(1))


def _tolerance(seconds: float) -> float:
    """How much of a duration may be missing: headers are rounded, and a last picture may stand for long."""
    return max(1.0, 0.05 * seconds)


def _check_file(path: Path) -> None:
    try:
        str(path).encode()
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give a video file")
        if not path.is_file():
            raise InputError(f"{path}: not a file; give a video file")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes); copy it again from its source")
        with open(path, "rb"):
            pass
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!r}: the name is not valid UTF-8; rename the file") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; copy it to a place and name that can be read") from None


def _open(path: Path):
    import av

    try:
        return av.open(f"file:{path}", metadata_errors="ignore")  # file: or a colon in a name would be a protocol
    except (av.FFmpegError, OSError, ValueError):
        raise InputError(f"{path}: not a video, or damaged beyond reading; give an mp4, mkv, avi or the like") from None


def _video_stream(container, path: Path):
    """The first moving picture. A cover, attached to a sound file, is none."""
    import av

    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and container.format.name not in TEXT_FORMATS:
            if stream.codec_context is None:  # the headers that name the codec are gone
                break
            return stream
    if container.streams.audio and not container.streams.video:
        raise InputError(f"{path}: has sound but no picture; give a video file")
    raise InputError(f"{path}: holds no video that can be decoded; give an mp4, mkv, avi or the like")


def _packets(container, stream, on_error: Callable[[], None] = lambda: None) -> Iterator:
    """The packets of a stream (None: of all), going on after a damaged place.

    The last packet of a single stream is the empty one that empties its decoder.
    """
    import av

    errors = 0
    while errors < 50:  # in a row: then there is nothing left to find
        try:
            for packet in container.demux(*([stream] if stream else [])):
                if packet.size or stream:
                    yield packet
                    errors = 0 if packet.size else errors
            return
        except av.error.EOFError:
            return
        except av.FFmpegError:
            errors += 1
            on_error()


def _clock_starts_anywhere(container) -> bool:
    import av

    return bool(container.format.flags & av.format.Flags.ts_discont.value)


def _missing_bytes(path: Path) -> str:
    """Why the container's own top-level sizes say that bytes are missing at the end; "" when they do not.

    ISO media (mp4, mov), RIFF (avi) and EBML (mkv, webm) all are elements with a size in front. Recordings without a
    known size (live streams) promise nothing.
    """
    total = path.stat().st_size
    seen = set()
    with open(path, "rb") as file:
        position = 0
        while position + 8 <= total:
            file.seek(position)
            head = file.read(16)
            kind = head[4:8]
            if head[:4] == b"RIFF":
                end = position + 8 + int.from_bytes(head[4:8], "little")
            elif head[:4] in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):  # EBML header, Segment
                length = 9 - head[4].bit_length()
                size = int.from_bytes(head[4 : 4 + length], "big") & ((1 << 7 * length) - 1)
                if length > 8 or size == (1 << 7 * length) - 1:  # unknown
                    break
                end = position + 4 + length + size
            elif kind in ISO_BOXES:
                size = int.from_bytes(head[:4], "big")
                size = int.from_bytes(head[8:16], "big") if size == 1 else size or total - position
                if size < 8:
                    break
                seen.add(kind)
                end = position + size
            else:
                break
            if end > total:
                return f"it has {total:,} of {end:,} bytes"
            position = end
    return "its index is missing" if b"mdat" in seen and not seen & {b"moov", b"moof"} else ""


ISO_BOXES = frozenset(b"ftyp moov mdat free skip wide uuid moof mfra sidx styp meta pnot udta".split())


def _display_matrix(frame) -> tuple[int, int, int, int]:
    """(a, b, c, d), signs only, of the turn that the file asks for: x' = a x + c y, y' = b x + d y, y points down."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            values = np.frombuffer(bytes(data), np.int32)
            a, b, c, d = (int(values[i]) for i in (0, 1, 3, 4))
            if abs(a) >= abs(b):  # a quarter turn is the finest that is applied
                return (1 if a >= 0 else -1), 0, 0, (1 if d >= 0 else -1)
            return 0, (1 if b >= 0 else -1), (1 if c >= 0 else -1), 0
    return 1, 0, 0, 1


def _turned(matrix) -> bool:
    return matrix[0] == 0


def _apply_matrix(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    a, b, c, d = matrix
    if a == 0:
        image, a, d = image.transpose(1, 0, 2), c, b  # x' runs along y, y' along x
    return image[::d, ::a]


class VideoWriter:
    """Writes (H, W, 3) uint8 RGB frames at their times as H.264; a context manager.

    The file appears under its name only when the block ends well, or by KeyboardInterrupt: then what was written so far
    is finished so that it plays. Any other exception leaves nothing.

    mp4 with its index in front, so that it plays while it loads; yuv420p, which plays everywhere. H.264 cannot hold an
    odd width or height in that format, so those are written as yuv444p: no column is lost or added, but Firefox, Safari
    and QuickTime do not play it (VLC, mpv, Chrome, OpenCV do).

    rate: frames/s, a hint for the encoder; the times decide. time_base: the source's, so that its stamps survive
    exactly. sound_from: a file whose sound tracks are copied as they are, with their languages; one that mp4 cannot
    hold is converted to AAC, and one that cannot be decoded is left out (`sound`, `sound_lost` tell). preset: x264's.
    comment: a text for the file's metadata. reproducible: the same frames give the same bytes, slower.

    The file is read back before it gets its name. InputError when it cannot be, when the place cannot be written, or
    when the disk is full.
    """

    def __init__(
        self,
        path,
        width: int,
        height: int,
        *,
        rate: float = 25.0,
        time_base: Fraction | None = None,
        pixel_aspect: Fraction | None = None,
        sound_from=None,
        sound_offset_s: float = 0.0,
        comment: str = "",
        preset: str = PRESET,
        reproducible: bool = False,
    ):
        self.path, self._preset, self._comment = Path(path), preset, comment
        if self.path.suffix.lower() not in WRITABLE:
            raise InputError(f"{self.path}: a video is written as {', '.join(WRITABLE)}; choose one of these")
        self.width, self.height, self.rate = width, height, min(max(rate, 1.0), 1000.0)
        self.frames, self.sound, self.sound_lost, self.reproducible = 0, "none", "", reproducible
        self._time_base = _fine(time_base)
        self._pixel_aspect = pixel_aspect
        self._sound_from, self._sound_offset_s = sound_from, sound_offset_s
        self._container, self._track, self._last_pts = None, None, None

    def __enter__(self) -> VideoWriter:
        import av
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._replacing = replacing(self.path)
        temporary = self._temporary = self._replacing.__enter__()
        try:
            options = {"movflags": "faststart"} if self.path.suffix.lower() != ".mkv" else {}
            self._container = av.open(f"file:{temporary}", "w", options=options)
            if self._comment:
                self._container.metadata["comment"] = self._comment
            rate = Fraction(self.rate).limit_denominator(1001)
            encoder = {"crf": str(CRF), "preset": self._preset, "g": str(round(min(250, KEY_EVERY_S * self.rate + 1)))}
            if thread_limit():
                encoder["threads"] = str(thread_limit())
            if self.reproducible:
                encoder |= {"threads": "1", "mbtree": "0"}  # mbtree's SIMD code reads past odd numbers of blocks
            stream = self._container.add_stream("libx264", rate=rate, options=encoder)
            stream.width, stream.height = self.width, self.height
            stream.pix_fmt = "yuv420p" if self.width % 2 == self.height % 2 == 0 else "yuv444p"
            context = stream.codec_context
            context.time_base = self._time_base
            # BT.601, limited range, and marked as such: the one matrix that OpenCV, which reads no mark, assumes too
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = 6, 1, 1, 1
            if self._pixel_aspect:
                context.sample_aspect_ratio = self._pixel_aspect
            self._stream = stream
            if self._sound_from is not None:
                self._track = _SoundTrack(self._sound_from, self._container, self._sound_offset_s)
                self.sound, self.sound_lost = self._track.state, self._track.lost
        except BaseException as error:
            self._discard(error)
            self._raise_clearly(error)
        return self

    def write(self, image: np.ndarray, time_s: float, duration_s: float | None = None) -> None:
        """Add a picture; times must increase (one that does not is moved on by a tick)."""
        import av

        if image.shape != (self.height, self.width, 3) or image.dtype != np.uint8:
            raise ValueError(f"frames must be ({self.height}, {self.width}, 3) uint8, got {image.shape} {image.dtype}")
        try:
            frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image))  # not copied: it is converted at once
            frame = self._reformatter.reformat(
                frame, format=self._stream.pix_fmt, dst_colorspace="ITU601", dst_color_range="MPEG"
            )
            pts = round(time_s / self._time_base)
            if self._last_pts is not None:
                pts = max(pts, self._last_pts + 1)
            frame.pts, frame.time_base = pts, self._time_base
            frame.duration = round((duration_s or 1 / self.rate) / self._time_base)
            self._container.mux(self._stream.encode(frame))
            if self._track:
                self._track.copy_until(time_s)
        except (av.FFmpegError, OSError) as error:
            self._raise_clearly(error)
        self._last_pts = pts
        self.frames += 1

    def __exit__(self, kind, error, trace) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        if (kind is not None and not interrupted) or (interrupted and not self.frames):
            self._discard(error)
            return
        with uninterrupted():
            try:
                if not self.frames:
                    raise InputError(f"{self.path}: no frame to write")
                self._container.mux(self._stream.encode(None))
                if self._track and not interrupted:
                    self._track.copy_until(None)
                if self._track:
                    self._track.finish()
                self._container.close()
                self._read_back()
            except BaseException as failure:
                self._discard(failure)
                self._raise_clearly(failure)
            self._replacing.__exit__(None, None, None)

    def _read_back(self) -> None:
        """InputError unless all frames are in the file and the last one can be decoded."""
        import av

        count, last, decoded = 0, None, None
        with suppress(InputError, av.FFmpegError), _open(self._temporary) as container:
            stream = _video_stream(container, self._temporary)
            for packet in container.demux(stream):
                if packet.size and packet.pts is not None:
                    count, last = count + 1, packet.pts if last is None else max(last, packet.pts)
            if count == self.frames:
                container.seek(last, stream=stream)
                for frame in container.decode(stream):
                    decoded = frame.pts
        if count != self.frames or decoded != last:
            reason = f"only {count} of its {self.frames} frames, and not the last, can be read back"
            raise InputError(f"cannot write {self.path}: {reason}; free some space or choose another place")

    def _discard(self, error: BaseException) -> None:
        with suppress(Exception):
            if self._track:
                self._track.close()
        with suppress(Exception):
            if self._container:
                self._container.close()
        with suppress(BaseException):  # it raises `error` again, which is on its way already
            self._replacing.__exit__(type(error), error, error.__traceback__)

    def _raise_clearly(self, error: BaseException) -> None:
        """The error again, FFmpeg's and the file system's as one clear line."""
        import av

        if isinstance(error, (av.FFmpegError, OSError)):
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot write {self.path}: {reason}; free some space or choose another place") from None
        raise error


def _fine(time_base: Fraction | None) -> Fraction:
    """A time base that holds the source's stamps exactly and is fine enough for one moved by NUDGE_S."""
    if time_base is None or time_base < Fraction(1, 1_000_000):
        return Fraction(1, 90_000)
    while time_base > Fraction(1, 10_000):
        time_base /= 2
    return time_base


class _SoundTrack:
    """The sound of a file, put into another in step with its picture: each track as it is or converted to AAC."""

    def __init__(self, path, output, offset_s: float):
        self._input = _open(Path(path))
        self._output, self._offset_s = output, offset_s
        self._targets, self._converted, self._begun, lost = {}, set(), set(), set()  # by the input's stream index
        for stream in self._input.streams.audio:
            context = stream.codec_context
            if context is not None and context.name in SOUND_COPIED:
                target = output.add_stream_from_template(stream)
            elif context is not None and context.sample_rate and context.layout.nb_channels:
                target = _aac_stream(output, context)
                self._converted.add(stream.index)
            else:
                lost.add(context.name if context else "unknown")
                continue
            self._targets[stream.index] = target
            if "language" in stream.metadata:
                target.metadata["language"] = stream.metadata["language"]
        kept = tuple(stream for stream in self._input.streams.audio if stream.index in self._targets)
        self.state = "none" if not kept else "converted" if self._converted else "copied"
        self.lost = ", ".join(sorted(lost))
        self._packets = _packets(self._input, kept) if kept else iter(())
        self._waiting = None
        self._shifts = dict.fromkeys(self._targets, -offset_s)  # seconds, added to the stamps
        self._ends: dict[int, float] = {}

    def copy_until(self, time_s: float | None) -> None:
        """Write the packets up to a time; None: all that are left."""
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = None
            if packet is None:
                return
            if packet.dts is None or not packet.size:
                continue
            index, at = packet.stream_index, self._time_s(packet)
            if time_s is not None and at > time_s:
                self._waiting = packet
                return
            if at < self._ends.get(index, at) - 0.5:  # the clock starts again, as in files put end to end
                self._shifts[index] += self._ends[index] - at
                at = self._ends[index]
            self._ends[index] = at + float((packet.duration or 0) * packet.time_base)
            if index in self._converted:
                self._convert(packet)
                continue
            shift = round(self._shifts[index] / packet.time_base)
            packet.dts += shift
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.stream = self._targets[index]
            self._output.mux(packet)

    def _time_s(self, packet) -> float:
        return float(packet.dts * packet.time_base) + self._shifts[packet.stream_index]

    def _convert(self, packet) -> None:
        import av

        index = packet.stream_index
        with suppress(av.error.InvalidDataError):  # a damaged packet leaves a gap
            for frame in packet.decode():
                if frame.pts is not None:
                    frame.pts += round(self._shifts[index] / frame.time_base)
                self._begun.add(index)
                self._output.mux(self._targets[index].encode(frame))

    def finish(self) -> None:
        """Write what the encoders still hold, and close the input."""
        for index in self._begun:
            self._output.mux(self._targets[index].encode(None))
        self.close()

    def close(self) -> None:
        self._input.close()


def _aac_stream(output, context):
    """A new AAC track for the sound that a decoder's context describes."""
    channels = context.layout.nb_channels
    rate = min(AAC_RATES, key=lambda rate: (rate < context.sample_rate, abs(rate - context.sample_rate)))
    stream = output.add_stream("aac", rate=rate, layout={1: "mono", 6: "5.1", 8: "7.1"}.get(channels, "stereo"))
    stream.codec_context.bit_rate = AAC_BITS * stream.codec_context.layout.nb_channels
    return stream


class CsvTable:
    """Rows written to a CSV as they come; a context manager.

    The file appears under its name only when the block ends well or, if there are rows, by KeyboardInterrupt.
    """

    def __init__(self, path, columns: tuple[str, ...]):
        self.path, self.columns, self._rows = Path(path), columns, 0

    def __enter__(self) -> CsvTable:
        self._replacing = replacing(self.path)
        # backslashreplace: a file's name may hold bytes that are no text
        self._file = open(self._replacing.__enter__(), "w", newline="", encoding="utf-8", errors="backslashreplace")
        self._writer = csv.DictWriter(self._file, self.columns, restval="")
        self._writer.writeheader()
        return self

    def write(self, rows: list[dict]) -> None:
        self._writer.writerows(rows)
        self._rows += len(rows)

    def __exit__(self, kind, error, trace) -> None:
        keep = kind is None or (issubclass(kind, KeyboardInterrupt) and self._rows)
        with uninterrupted():
            try:
                self._file.close()
            except OSError as failure:
                kind, error, keep = type(failure), failure, False
            if keep:
                self._replacing.__exit__(None, None, None)
            else:
                self._replacing.__exit__(kind, error, trace)


class Progress:
    """How far a long work is, on stderr: a bar on a terminal, elsewhere a plain line every ten seconds."""

    def __init__(self, name: str, total: int | None, shown: bool = True, unit: str = "frame"):
        self._name, self._total, self._shown, self._unit = one_line(name), total, shown, unit
        self._count, self._bar = 0, None
        self._start = self._said = time.monotonic()
        if shown and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=self._name, unit=unit, file=sys.stderr, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self) -> None:
        self._count += 1
        if self._bar is not None:
            self._bar.update()
            return
        now = time.monotonic()
        if self._shown and now - self._said >= PROGRESS_EVERY_S:
            self._said = now
            speed = self._count / (now - self._start)
            units = f"{self._unit}s"
            line = f"{self._name}: {self._count} {units}, {speed:.1f} {units}/s"
            if self._total:
                left = max(0, self._total - self._count) / speed
                line = f"{self._name}: {self._count} of {self._total} {units}, {speed:.1f} {units}/s, {left:.0f} s left"
            inform(line)


@dataclass(frozen=True)
class VideoSummary:
    """What was done with one video."""

    source: str
    video: Path  # the annotated one
    table: Path | None
    frames: int  # read and written
    measured: int  # of them analysed; on the others boxes were moved on and the rest carried
    faces: int  # rows with a face
    skipped: int  # damaged packets left out
    damaged: int  # frames with a part missing or wrong
    seconds: float  # of work
    duration_s: float  # of the video
    sound: str  # "copied", "converted" (some of it) or "none"
    sound_lost: str  # codecs of what cannot be decoded; "" when nothing was left out
    stages: dict[str, float]  # busy seconds of read, track, classify, draw, write, which overlap


def video_rows(faces: Faces, source: str, frame: int, time_s: float, measured: bool = True) -> list[dict]:
    """The table rows of one frame of a video; one empty row when there is no face."""
    from fer_lib.records import empty_record, face_records

    rows = face_records(faces, source, frame, time_s) or [empty_record(source, frame, time_s)]
    return [row | {"measured": int(measured)} for row in rows]


@contextmanager
def saying_what_is_kept(source: str, results: list[Path], frames: Callable[[], int]) -> Iterator[None]:
    """KeyboardInterrupt in the block, in which results are written and finished, goes on as Interrupted.

    frames: how many have been written.
    """
    try:
        yield
    except KeyboardInterrupt:
        if count := frames():
            kept = f"{counted(count, 'frame')} of {source} are in {' and '.join(map(str, results))}"
        else:
            kept = f"no frame of {source} was written"
        raise Interrupted(kept) from None


def annotate_video(
    path,
    recognize: Callable,
    out_path,
    *,
    smooth_s: float = SMOOTH_S,
    every: int | None = None,
    table_path=None,
    names: tuple[str, ...] | None = None,
    draw: Callable | None = None,
    source: str | None = None,
    comment: str = "",
    on_rows: Callable[[list[dict]], None] | None = None,
    on_faces: Callable[[np.ndarray, Faces, float], None] | None = None,
    progress: bool = True,
) -> VideoSummary:
    """Recognise, draw and write every frame of a video, and its rows as they come.

    recognize: a Recognizer, or any callable (H, W, 3) uint8 RGB -> Faces. smooth_s, every: see
    fer_lib.pipeline.Analysis, which tracks the faces; rows tell what was measured and what is carried.
    draw: (image, faces) -> image, default draw_over; it may draw into the image. table_path: a CSV of the columns
    `names`, default those that the recogniser fills. on_rows is called once a frame with that frame's rows. on_faces is
    called with each analysed frame, in order: (image, faces, time_s), the picture without any drawing. It must leave
    the picture as it is, and copy what it keeps, since it is drawn over next. source names the video in the rows,
    default the path as given. comment: for the annotated video's metadata.

    Damaged packets in the middle are left out and counted in the summary, for the caller to warn of: the video counts
    as done. One whose end is missing is refused. Only some dozen frames are held in memory. KeyboardInterrupt finishes
    video and table so far, then goes on as Interrupted, which says how far that is. InputError when the video cannot be
    used or the output cannot be written: then nothing stands under the final names.
    """
    if draw is None:
        from fer_lib.annotate import draw_over as draw
    if names is None:
        kinds = {kind: getattr(recognize, kind, False) for kind in ("va", "age")}
        names = columns(video=True, smoothed=smooth_s > 0, **kinds)

    source = str(path) if source is None else source
    begun, face_count, measured_count, stages = time.monotonic(), 0, 0, {"draw": 0.0, "write": 0.0}
    table_path, writer = None if table_path is None else Path(table_path), None
    results = [path for path in (Path(out_path), table_path) if path is not None]
    with saying_what_is_kept(source, results, lambda: writer.frames if writer else 0), ExitStack() as stack:
        video = stack.enter_context(VideoReader(path))
        for target in (out_path, table_path):
            if target is not None and Path(target).resolve() == video.path.resolve():
                raise InputError(f"{target}: the output would overwrite the input; choose another folder or name")
        bar = stack.enter_context(Progress(video.path.name, video.frames, progress))
        # the table first, so that the video, which fails more easily, is closed before it
        table = stack.enter_context(CsvTable(table_path, names)) if table_path is not None else None
        writer = stack.enter_context(
            VideoWriter(
                out_path,
                video.width,
                video.height,
                rate=video.rate,
                time_base=video.time_base,
                pixel_aspect=video.pixel_aspect,
                sound_from=path,
                sound_offset_s=video.offset_s,
                comment=comment,
            )
        )
        analysis = stack.enter_context(Analysis(video, recognize, smooth_s, every))
        for frame, faces, measured in analysis:
            started = time.perf_counter()
            if on_faces is not None and measured:
                on_faces(frame.image, faces, frame.time_s)
            annotated = draw(frame.image, faces)
            rows = video_rows(faces, source, frame.index, frame.time_s, measured)
            drawn = time.perf_counter()
            with uninterrupted():  # so that video and tables end with the same frame
                writer.write(annotated, frame.time_s, frame.duration_s)
                if table is not None:
                    table.write(rows)
                if on_rows is not None:
                    on_rows(rows)
            stages["draw"] += drawn - started
            stages["write"] += time.perf_counter() - drawn
            face_count += len(faces)
            measured_count += measured
            bar.step()
        with uninterrupted():  # so that a worker's SIGTERM leaves no video without its table
            stack.close()
    seconds = time.monotonic() - begun
    return VideoSummary(
        source=source,
        video=Path(out_path),
        table=table_path,
        frames=writer.frames,
        measured=measured_count,
        faces=face_count,
        skipped=video.skipped,
        damaged=video.damaged,
        seconds=seconds,
        duration_s=video.duration_s,
        sound=writer.sound,
        sound_lost=writer.sound_lost,
        stages=analysis.stages | stages,
    )
