"""Find objects in a picture and draw them.

python examples/detect.py yolov3.cfg yolov3.weights coco.names street.jpg
"""

import sys

import tinyyolo3


def main(cfg: str, weights: str, names: str, picture: str) -> None:
    detector = tinyyolo3.load(cfg, weights, names=names)
    result = detector.detect(picture, threshold=0.25, nms=0.45)
    for found in result:
        print(f"{found.name:15} {found.confidence:4.0%}", [round(v) for v in found.xyxy])
    result.draw().save("detections.png")


if __name__ == "__main__":
    main(*sys.argv[1:5])
