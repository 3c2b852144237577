"""Streams and videos through PyAV: damage is seen, and a whole file has no phantom part."""

from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pytest
from fakes.camera import FakeTime
from inputs.media import lose_packets, scene, write_video
from numpy.typing import NDArray

from pipeline.camera.open import SourceOptions, open_source
from pipeline.camera.pace import FramePacer
from pipeline.camera.source import Shot
from pipeline.camera.sources.stream import StreamDecoder, load_av, rgb_from_stream
from pipeline.camera.sources.video import VideoSource
from pipeline.errors import CameraLost, SettingsError, UnreadableFrame

PICTURES = [scene(number) for number in range(60)]


def library() -> ModuleType:
    loaded = load_av()
    assert loaded is not None
    return loaded


def shots_of(path: Path, cursor: str = "") -> list[Shot]:
    time = FakeTime()
    pacer = FramePacer(None, time.clock, time.wait)
    return list(VideoSource(path, pacer, time.clock_ns, library()).shots(cursor))


def wrong_share(pixels: NDArray[np.uint8], whole: NDArray[np.uint8]) -> float:
    return float((np.abs(pixels.astype(int) - whole).max(axis=2) > 40).mean())


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize("share", [0.002, 0.01, 0.03])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_picture_that_packet_loss_damaged_is_given_as_whole(
    tmp_path: Path, codec: str, share: float, seed: int
) -> None:
    whole, damaged = tmp_path / "whole.ts", tmp_path / "damaged.ts"
    write_video(whole, PICTURES, codec, bf="2")
    damaged.write_bytes(lose_packets(whole.read_bytes(), share, seed))
    sent = [shot.pixels for shot in shots_of(whole)]
    readable = [shot for shot in shots_of(damaged) if not shot.unreadable]
    assert len(sent) == len(PICTURES)
    assert all(min(wrong_share(shot.pixels, one) for one in sent) < 0.002 for shot in readable)


def test_pictures_after_the_next_key_frame_are_judged_again(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "whole.ts", tmp_path / "damaged.ts"
    write_video(whole, PICTURES, bf="2")
    content = whole.read_bytes()
    middle = len(content) // 2 // 188 * 188
    damaged.write_bytes(content[:middle] + content[middle + 188 :])
    unreadable = [bool(shot.unreadable) for shot in shots_of(damaged)]
    assert len(unreadable) == len(PICTURES)
    assert 1 <= sum(unreadable) <= 13  # one group of pictures, and one before it
    assert not unreadable[0]
    assert not unreadable[-1]


def test_torn_picture_of_a_motion_jpeg_video_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "torn.avi"
    write_video(path, PICTURES[:8], "mjpeg")
    content = bytearray(path.read_bytes())
    starts = [at for at in range(len(content)) if content[at : at + 3] == b"\xff\xd8\xff"]
    middle = (starts[3] + starts[4]) // 2
    content[middle : starts[4] - 8] = bytes(starts[4] - 8 - middle)
    path.write_bytes(content)
    shots = shots_of(path)
    assert [number for number, shot in enumerate(shots) if shot.unreadable] == [3]
    assert len(shots) == 8


def test_stream_that_changes_its_size_is_unreadable_from_then_on(tmp_path: Path) -> None:
    first, second, both = (tmp_path / name for name in ("1.ts", "2.ts", "both.ts"))
    write_video(first, PICTURES[:12])
    write_video(second, [scene(number, 120, 320) for number in range(12)])
    both.write_bytes(first.read_bytes() + second.read_bytes())
    shots = shots_of(both)
    readable = [shot.pixels.shape[:2] for shot in shots if not shot.unreadable]
    assert set(readable) == {(240, 320)}
    assert len(readable) >= 10  # the seam between the two may look like a loss
    assert "sends 120x320 instead of 240x320" in shots[-1].unreadable


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4", "ts"])
def test_video_of_variable_rate_has_as_many_parts_as_frames(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"variable.{suffix}"
    codec = "libvpx" if suffix == "webm" else "libx264"
    times = [10 * number if number < 20 else 200 + 120 * (number - 20) for number in range(40)]
    write_video(path, PICTURES[:40], codec, times)
    shots = shots_of(path)
    assert [shot.unreadable for shot in shots] == [""] * 40
    assert [shot.cursor for shot in shots] == [str(number) for number in range(40)]


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_video_whose_sound_is_longer_has_as_many_parts_as_frames(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"sound.{suffix}"
    write_video(path, PICTURES[:25], sound_s=3.0)
    assert [shot.unreadable for shot in shots_of(path)] == [""] * 25


def test_video_cut_without_encoding_has_as_many_parts_as_it_shows(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_video(whole, PICTURES, bf="2")
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None and (packet.pts or 0) * packet.time_base >= 0.8:  # type: ignore[operator]
                packet.stream = stream
                target.mux(packet)
    shots = shots_of(cut)
    assert len(shots) >= 20
    assert [shot for shot in shots if "cut off" in shot.unreadable] == []


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
def test_truncated_video_ends_with_one_part_that_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    codec = "mjpeg" if suffix == "avi" else "libx264"
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = 240, 320
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for pixels in PICTURES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    shots = shots_of(path)
    assert [shot for shot in shots if "cut off" in shot.unreadable] == shots[-1:]
    assert 20 <= len(shots) <= len(PICTURES)


def test_killed_camera_goes_on_in_a_damaged_video(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "whole.ts", tmp_path / "damaged.ts"
    write_video(whole, PICTURES, bf="2")
    damaged.write_bytes(lose_packets(whole.read_bytes(), 0.02, 1))
    shots = shots_of(damaged)
    rest = shots_of(damaged, shots[29].cursor)
    assert [(shot.cursor, shot.unreadable) for shot in rest] == [
        (shot.cursor, shot.unreadable) for shot in shots[30:]
    ]


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_turned_video_is_upright_as_with_opencv(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 240, 320, "yuv420p"
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(PICTURES[0], format="rgb24")))
        container.mux(stream.encode())
    capture = cv2.VideoCapture(str(path))
    upright = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    capture.release()
    (shot,) = shots_of(path)
    assert shot.pixels.shape == upright.shape
    assert float(np.abs(shot.pixels.astype(int) - upright).mean()) < 3


def test_pictures_that_are_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "video.mp4"
    write_video(path, PICTURES[:2])
    monkeypatch.setattr("pipeline.camera.sources.stream.MAX_PIXELS", 240 * 320 - 1)
    with pytest.raises(SettingsError, match="limit 76799 pixels"):
        shots_of(path)


def test_sound_without_pictures_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        container.add_stream("pcm_s16le", rate=8000)
    with pytest.raises(CameraLost, match="does not open"):
        StreamDecoder(library(), str(tmp_path / "sound.wav"), "sound.wav")


def test_camera_without_pyav_says_that_damage_is_not_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "video.mkv"
    write_video(path, PICTURES[:25], sound_s=3.0)
    monkeypatch.setattr("pipeline.camera.open.load_av", lambda: None)
    source = open_source(str(path), SourceOptions(), lambda _: False)
    assert [shot.unreadable for shot in source.shots("")] == [""] * 25
    assert [record.message for record in caplog.records] == ["video.damage_not_seen"]


def test_pyav_that_is_not_installed_is_no_error() -> None:
    def absent(name: str) -> ModuleType:
        raise ImportError(name)

    assert load_av(absent) is None


def test_damaged_picture_cannot_be_converted(tmp_path: Path) -> None:
    write_video(tmp_path / "video.mp4", PICTURES[:2])
    decoder = StreamDecoder(library(), str(tmp_path / "video.mp4"), "video")
    first, *_ = decoder.pictures()
    assert rgb_from_stream(first).shape == (240, 320, 3)
    with pytest.raises(UnreadableFrame, match="lost"):
        rgb_from_stream(type(first)(first.content, "lost"))
    decoder.close()
