"""Find things by words in a panorama, by a detector of Hugging Face, and have the node track them.

    python examples/find_by_words.py "red chair" "fire extinguisher"      # beside the running node
    python examples/find_by_words.py chair --image room.jpg               # a file: prints boxes only
    python examples/find_by_words.py chair --model google/owlv2-base-patch16-ensemble --threshold 0.2

Needs `pip install "panosam2_ros[words]"`. The model is downloaded by transformers on first use, or is a
folder. It sees overlapping perspective views of the panorama, whose boxes are joined, across the seam too. It
may be slow: its boxes are prompted with the stamp of the image in which it found them, and the node tracks
each thing from there to the present, while it still holds that image (parameters history_seconds and
history_mib).
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from panosam2_ros.detections.boxes import DetectedBoxes, clipped, usable
from panosam2_ros.detections.placed_boxes import PlacedBoxes
from panosam2_ros.detections.placement import place_through_view
from panosam2_ros.detections.views import join_views
from panosam2_ros.geometry.camera_frame import UPRIGHT
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.perspective_view import PerspectiveView

if TYPE_CHECKING:
    from panosam2_ros.ros.client import Client

DEFAULT_MODEL = "IDEA-Research/grounding-dino-tiny"


class WordDetector:
    """A zero-shot detector of transformers: Grounding DINO, OWLv2, or what has the same interface."""

    def __init__(self, model: str, words: Sequence[str], threshold: float) -> None:
        import torch
        import transformers

        hub: Any = transformers  # whose types say little
        self._torch, self._words, self._threshold = torch, list(words), threshold
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._processor: Any = hub.AutoProcessor.from_pretrained(model)
        network: Any = hub.AutoModelForZeroShotObjectDetection.from_pretrained(model)
        self._model = network.to(device).eval()

    def find(self, picture: ImageArray) -> DetectedBoxes:
        """Return the boxes of a picture [h, w, 3], each with the word that it is for."""
        from PIL import Image

        inputs = self._processor(
            images=[Image.fromarray(picture)], text=[self._words], return_tensors="pt", padding=True
        )
        with self._torch.inference_mode():
            outputs = self._model(**inputs.to(self._model.device))
        (found,) = self._processor.post_process_grounded_object_detection(
            outputs,
            threshold=self._threshold,
            target_sizes=[picture.shape[:2]],
            text_labels=[self._words],
        )
        words = [self._word(label) for label in found["text_labels"]]
        rows = [row for row, word in enumerate(words) if word]
        edges = found["boxes"].cpu().numpy().astype(float).reshape(-1, 4) - 0.5  # from edges to pixel indices
        boxes = DetectedBoxes(edges, found["scores"].cpu().numpy().astype(float), tuple(words)).of(rows)
        return boxes.of(np.flatnonzero(usable(boxes, picture.shape[1], picture.shape[0])))

    def _word(self, label: str) -> str:
        """Return which of the words a phrase is about, as Grounding DINO answers in phrases; empty: none."""
        parts = set(re.findall(r"\w+", label.lower()))
        shares = [
            len(parts & set(own := re.findall(r"\w+", word.lower()))) / len(own) for word in self._words
        ]
        best = int(np.argmax(shares))
        return self._words[best] if shares[best] > 0 else ""


def views(options: argparse.Namespace) -> list[PerspectiveView]:
    """Return the views, a ring of them at each elevation, each overlapping its neighbours by a third."""
    fov = math.radians(options.fov)
    count = math.ceil(2 * math.pi / (fov * 2 / 3))
    size = (options.size, options.size)
    return [
        PerspectiveView.facing(UPRIGHT, 2 * math.pi * i / count, math.radians(elevation), fov, size)
        for elevation in options.elevations
        for i in range(count)
    ]


def find(
    detector: WordDetector, panorama: ImageArray, vertical_fov: float, options: argparse.Namespace
) -> PlacedBoxes:
    """Return the things that the words name in a panorama [H, W, 3], each once."""
    grid = Equirect(panorama.shape[1], panorama.shape[0], vertical_fov)
    parts = []
    for view in views(options):
        boxes = clipped(detector.find(view.pixels(panorama, grid)), view.width, view.height, wraps=False)
        parts.append(place_through_view(boxes, view, grid))
    found = join_views(parts, grid, options.overlap)
    return found.of(np.arange(len(found))[: options.most])


def load(options: argparse.Namespace) -> WordDetector:
    """Load the model; end the program where it cannot be had."""
    try:
        return WordDetector(options.model, options.words, options.threshold)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        sys.exit(
            f"the model {options.model} cannot be loaded: {reason}; name a folder or one of huggingface.co"
        )


def describe(found: PlacedBoxes, row: int) -> str:
    """Return a line about one thing: its word, score and box."""
    box = ", ".join(f"{x:.0f}" for x in found.prompts[row])
    return f"{found.detected.classes[row]} {found.detected.scores[row]:.2f} box {box}"


def find_in_file(options: argparse.Namespace) -> None:
    """Print what is found in a file; a box with u_min > u_max crosses the seam."""
    picture = cv2.imread(options.image)
    if picture is None:
        sys.exit(f"{options.image} cannot be read: give a jpeg or png with a panorama")
    panorama = np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    found = find(load(options), panorama, math.radians(options.vertical_fov), options)
    for row in range(len(found)):
        print(describe(found, row))


def find_for_node(options: argparse.Namespace) -> None:
    """Find things in the next image, and prompt the node with them at that image's stamp."""
    import rclpy

    from panosam2_ros.ros.client import Client, ClientError

    rclpy.init()
    node = rclpy.create_node("find_by_words")
    try:
        prompt_found(Client(node, options.node), node, options)
    except (ClientError, TimeoutError) as error:
        sys.exit(str(error))
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def prompt_found(client: Client, node: Any, options: argparse.Namespace) -> None:
    """Prompt each thing; one that is refused stops no other."""
    from panosam2_ros.msg import ObjectPrompt
    from panosam2_ros.ros.client import ClientError
    from panosam2_ros.ros.conversion.panorama_decoder import raw_to_array

    vertical_fov = client.parameter("vertical_fov")
    detector = load(options)  # before the image, which the node does not hold for ever
    image = next_image(node, options.topic or f"{options.node}/panorama", options.timeout)
    begun = time.monotonic()
    found = find(detector, raw_to_array(image), vertical_fov, options)
    print(f"{len(found)} found in {time.monotonic() - begun:.1f} s")
    for row in range(len(found)):
        label, box = found.detected.classes[row], [float(x) for x in found.prompts[row]]
        try:
            bearing = client.prompt(ObjectPrompt(label=label, box=box), stamp=image.header.stamp)
        except ClientError as error:
            print(f"{describe(found, row)}: {error}")
            continue
        print(f"{describe(found, row)}: object {bearing.object_id}", flush=True)


def next_image(node: Any, topic: str, timeout: float) -> Any:
    """Return the next image on a topic; raise TimeoutError where none comes."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    arrived: list[Image] = []

    def keep(message: Image) -> None:  # rclpy asks for a signature, which append lacks
        arrived.append(message)

    node.create_subscription(Image, topic, keep, qos_profile_sensor_data)
    end = time.monotonic() + timeout
    while not arrived:
        if time.monotonic() > end:
            raise TimeoutError(
                f"no image on {node.resolve_topic_name(topic)} within {timeout:g} s: is the node active, and "
                "does its camera send images?"
            )
        rclpy.spin_once(node, timeout_sec=0.1)
    return arrived[-1]


def main() -> None:
    """Read the command line and find the words."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("words", nargs="+", help="what to look for")
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="name at huggingface.co or folder (%(default)s)"
    )
    parser.add_argument("--threshold", type=float, default=0.35, help="least score of a box (%(default)s)")
    parser.add_argument("--most", type=int, default=10, help="things at most, the best ones (%(default)s)")
    parser.add_argument("--overlap", type=float, default=0.3, help="IoU of boxes of one thing (%(default)s)")
    parser.add_argument("--fov", type=float, default=90.0, help="of a view, degrees (%(default)s)")
    parser.add_argument("--size", type=int, default=640, help="side of a view, pixels (%(default)s)")
    parser.add_argument(
        "--elevations", type=float, nargs="+", default=[0.0], metavar="DEGREES", help="of rings of views (0)"
    )
    parser.add_argument("--image", help="look in this file and print boxes, without ROS")
    parser.add_argument("--vertical-fov", type=float, default=180.0, help="of --image, degrees (%(default)s)")
    parser.add_argument("--node", default="panosam2", help="name of the node (%(default)s)")
    parser.add_argument("--topic", default="", help="of raw images with the node's stamps (NODE/panorama)")
    parser.add_argument("--timeout", type=float, default=20.0, help="s for an image (%(default)s)")
    options = parser.parse_args()
    try:
        import transformers  # noqa: F401
    except ImportError:
        sys.exit('transformers is not installed: pip install "panosam2_ros[words]"')
    find_in_file(options) if options.image else find_for_node(options)


if __name__ == "__main__":
    main()
