"""Pictures of a video stream, in the place of image messages."""

from __future__ import annotations

from dataclasses import dataclass

from std_msgs.msg import Header

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.io.video_stream import StreamPicture


@dataclass(frozen=True, eq=False)
class StreamImage:
    """A decoded picture with the header that its message would have."""

    header: Header
    picture: StreamPicture

    def rgb(self) -> ImageArray:
        """Convert to RGB [H, W, 3]; raise ImageError where that fails."""
        try:
            return self.picture.rgb()
        except ValueError as error:  # FFmpegError too: of formats that cannot be converted
            raise ImageError(f"a picture of the video stream cannot be converted: {error}") from error
