"""Sink that records clips and snapshots of events.

The planner in the thread of the camera loop decides which frames belong to which clip (`Message.clip`). This sink keeps
the last seconds as JPEG in a ring. When a clip begins, these frames and all that follow wait, still compressed, until
the thread of the sink has no message to take: then it encodes one of them. So a clip that begins never delays the
frames that arrive, and a slow board records fewer frames per second instead of losing the moment of the event.

The privacy mode is applied before a frame is stored: the ring never holds an image that may not be shown.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path
from time import monotonic

from ...runtime.errors import OutputError
from ...runtime.types import Frame, Image
from ..events.draw import RecentEvents, draw_rules
from ..sinks.base import LOG, Message, Sink
from ..sinks.frame_clock import FrameClock
from ..sinks.privacy import Privacy, apply_privacy
from .clip import Clip, ClipVideo
from .config import ClipsConfig
from .folder import ClipFolder
from .planner import MAX_REPORT_DELAY_S, ClipPlanner
from .ring import FrameRing, store_frame

_MAX_WAITING_BYTES = 8_000_000
"""Maximum size of the frames that wait to be encoded."""
_MAX_UNFINISHED_CLIPS = 2
_JITTER = 0.1
"""A frame may come earlier by this share of the interval between two frames of a clip."""
_CHECK_INTERVAL_S = 1.0
"""Interval at which the space on the disk is checked during a clip, and after an error."""
_CLEANING_INTERVAL_S = 600.0
"""Interval at which old clips are removed while nothing happens."""
_MAX_PAUSE_S = 10.0
"""A clip ends if no frame arrives for this time, because the camera is lost or paused."""
_FINISH_TIMEOUT_S = 0.6
"""Maximum time for encoding what waits when the process ends."""


class ClipSink(Sink):
    """Sink that writes a video, snapshots and a JSON file per event. Errors never stop it: the next clip is tried.

    The ring, the unfinished clips and their files belong to the thread of the sink. The planner belongs to the thread
    of the camera loop, which also calls `open`.
    """

    name = "clips"
    needs_images = True

    def __init__(
        self, folder: Path, config: ClipsConfig, privacy: Privacy, name: str, report_delay_s: float = 0.0
    ) -> None:
        """Prepare the sink; nothing is written before the first event.

        Args:
            folder: Folder of the clips.
            config: Settings.
            privacy: Privacy mode of the images.
            name: Display name of the device, or of the camera if there are several, for file names.
            report_delay_s: Maximum time from an event to its report, in seconds.
        """
        super().__init__()
        self._folder, self._config = ClipFolder(folder, config), config
        self._privacy: Privacy = privacy
        self.planner = ClipPlanner(config, name)
        self._clock, self._recent = FrameClock(), RecentEvents()
        self._ring = FrameRing(config.before_s + min(report_delay_s, MAX_REPORT_DELAY_S))
        self._due_s = 0.0
        self._clips: deque[Clip] = deque()
        """Unfinished clips, oldest first; only the last one gets frames."""
        self._last_stem = ""
        self._image: tuple[Frame, Image] | None = None
        """The last frame with events, and its image."""
        self._failure = ""
        self._checked_s = self._cleaned_s = self._frame_s = monotonic()
        self._is_described = False

    def open(self) -> None:
        """Prepare the folder.

        Raises:
            OutputError: It cannot be used.
        """
        self._folder.prepare()
        try:
            self.planner.reserve([clip.stem for clip in self._folder.list_clips()])
        except OSError as error:
            raise OutputError(f"{self._folder.path}: cannot store clips: {error.strerror}") from None

    def connect(self) -> None:
        """Finish the clips that an earlier process has left, and remove old ones."""
        try:
            self._folder.recover()
            self._clean()
        except (OSError, OutputError) as error:
            self._fail(error)
        self._set_problem("")
        self._plan_wake()

    def write(self, message: Message) -> None:
        """Store the frame, in the ring and for the clip."""
        time_s = self._clock.advance(message.frame)
        self._frame_s = monotonic()
        recent = self._recent.update(message.events, time_s)
        # A camera does not deliver its frames at exact intervals.
        is_due = self._config.video and time_s >= self._due_s - _JITTER / self._config.fps
        self._image = None
        if message.clip != self._last_stem:
            self._end_clip()
        if is_due or message.events:
            image = apply_privacy(message.frame, message.estimate, message.skeleton, self._privacy)
            if message.rules:
                image = draw_rules(image, message.rules, message.estimate.poses, recent)
            if message.events:
                self._image = message.frame, image
            if is_due:
                self._store(image, time_s, message.capture_time)
        self._begin_clip(message)
        self._plan_wake()

    def write_events(self, message: Message) -> None:
        """Write the snapshot and the sidecar of the events, and begin a clip if it is the first of them."""
        self._begin_clip(message)
        clip = self._clips[-1] if self._clips and self._clips[-1].stem == message.clip else None
        if clip is None or clip.is_over:
            return
        is_first = clip.add_events(message)
        try:
            if self._config.snapshot and message.frame.image.size:
                clip.write_snapshots(message, self._take_image(message))
            if is_first:
                clip.write_sidecar()
        except OutputError as error:
            self._fail(error)
        self._plan_wake()

    def handle_wake(self) -> None:
        """Encode one frame that waits, or finish a clip, or check the disk. Called when no message waits."""
        try:
            self._work()
        except OutputError as error:
            self._fail(error)
        except Exception as error:
            # An error of a library must not end the thread silently.
            self._fail(OutputError(f"{type(error).__name__}: {error}"))
        self._set_problem("")
        self._plan_wake()

    def close(self) -> None:
        """Encode what waits, for a short time, and finish all clips."""
        self._end_clip()
        end_s = monotonic() + _FINISH_TIMEOUT_S
        while self._clips:
            clip = self._clips[0]
            with suppress(OutputError):
                while clip.video is not None and clip.video.waiting and monotonic() < end_s:
                    clip.video.encode_next()
            try:
                self._clips.popleft().finish()
            except OutputError as error:
                LOG.warning("%s: %s", self.name, error)

    def _store(self, image: Image, time_s: float, captured_at: str | None) -> None:
        # Count from the due time, so that the average rate is met, but limit the backlog to one interval.
        step_s = 1 / self._config.fps
        self._due_s = max(self._due_s, time_s - step_s) + step_s
        try:
            frame = store_frame(image, time_s, captured_at)
        except ValueError as error:
            self._fail(OutputError(f"{self._folder.path}: cannot store clips: {error}"))
            return
        self._ring.append(frame)
        if self._clips and not self._clips[-1].is_over and (video := self._clips[-1].video) is not None:
            video.append(frame)
            videos = [clip.video for clip in self._clips if clip.video is not None]
            if sum(one.waiting_bytes for one in videos) > _MAX_WAITING_BYTES:
                for one in videos:
                    one.thin_out()

    def _begin_clip(self, message: Message) -> None:
        """Begin the clip of the message unless it has begun; not the rest of one that has ended."""
        if not message.clip or message.clip == self._last_stem:
            return
        self._end_clip()
        self._last_stem = message.clip
        clip = Clip(self._folder, message.clip, message, self._privacy)
        try:
            while len(self._clips) >= _MAX_UNFINISHED_CLIPS:
                self._finish_clip()
            self._make_space()
        except OutputError as error:
            self._fail(error)
            return
        self._failure = ""
        if self._config.video:
            frames = self._ring.list_last(message.clip_s)
            clip.video = ClipVideo(self._folder, message.clip, self._config.fps, frames)
        self._clips.append(clip)

    def _end_clip(self) -> None:
        """Stop adding frames to the current clip; it is finished when all its frames are encoded."""
        if self._clips:
            self._clips[-1].is_over = True

    def _work(self) -> None:
        now = monotonic()
        if now - self._frame_s > _MAX_PAUSE_S:
            self._end_clip()
        if self._clips and now - self._checked_s >= _CHECK_INTERVAL_S:
            self._make_space()
        if not self._clips:
            if self._is_cleaning_due(now):
                self._clean()
                self._failure = ""
            return
        clip = self._clips[0]
        if clip.video is not None and clip.video.waiting:
            clip.video.encode_next()
            self._describe(clip.video)
        elif clip.is_over:
            self._finish_clip()

    def _finish_clip(self) -> None:
        clip = self._clips.popleft()
        try:
            clip.finish()
        except OutputError as error:
            self._fail(error)
        self._make_space()

    def _make_space(self) -> None:
        """Remove old clips, so that there is space for those that are being written.

        Raises:
            OutputError: There is no space.
        """
        self._checked_s = monotonic()
        growing = sum(clip.video.measure_size_bytes() for clip in self._clips if clip.video is not None)
        self._folder.make_space(growing_bytes=growing, keep=[clip.stem for clip in self._clips])

    def _is_cleaning_due(self, now_s: float) -> bool:
        return now_s - self._cleaned_s >= (_CHECK_INTERVAL_S if self._failure else _CLEANING_INTERVAL_S)

    def _clean(self) -> None:
        self._cleaned_s = monotonic()
        self._make_space()

    def _fail(self, error: Exception) -> None:
        """Give up the clips that are being written; keep what plays."""
        self._failure, self._cleaned_s = str(error), monotonic()
        while self._clips:
            clip = self._clips.popleft()
            name = "" if clip.video is None else clip.video.abort()
            with suppress(OutputError):
                clip.write_sidecar(name, complete=True)
        self._set_problem("")

    def _take_image(self, message: Message) -> Image:
        """Return the image of a message; draw it if its frame was dropped from the queue."""
        if self._image is not None and self._image[0] is message.frame:
            return self._image[1]
        image = apply_privacy(message.frame, message.estimate, message.skeleton, self._privacy)
        return draw_rules(image, message.rules, message.estimate.poses, message.events)

    def _describe(self, video: ClipVideo) -> None:
        if not self._is_described and video.drawback:
            LOG.warning("%s: the videos are not H.264: %s", self.name, video.drawback)
        self._is_described = True

    def _plan_wake(self) -> None:
        """Decide when to work if no message comes: at once if there is something to do, such as frames that wait."""
        has_work = any(clip.is_over or (clip.video is not None and clip.video.waiting) for clip in self._clips)
        if has_work or self._is_cleaning_due(monotonic()):
            self.wake_interval_s = 0.0
        elif self._clips or self._failure:
            self.wake_interval_s = _CHECK_INTERVAL_S
        else:
            self.wake_interval_s = _CLEANING_INTERVAL_S

    def _set_problem(self, problem: str) -> None:
        """Keep a failure of the last clip as the problem, although the messages were taken."""
        super()._set_problem(problem or self._failure)
