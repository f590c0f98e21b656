"""Makes an animated picture of a generated story, each shot with its caption: docs/demo.gif.

    shotstream generate --story examples/tiny/story.json --out out/demo.mp4
    python examples/tiny/make_gif.py out/demo.mp4 examples/tiny/story.json docs/demo.gif

All shots must be equally long. Pillow is needed (the extra `dev` installs it with matplotlib).
"""

import json
import sys

import av
import matplotlib
from PIL import Image, ImageDraw, ImageFont

SCALE = 8
CAPTION_HEIGHT = 30
COLORS = 256


def main(video: str, story: str, out: str) -> None:
    """Reads the frames and captions, and writes the GIF at the video's own rate."""
    with av.open(video) as container:
        rate = float(container.streams.video[0].average_rate)
        pictures = [frame.to_image() for frame in container.decode(video=0)]
    with open(story, encoding="utf-8") as file:
        script = json.load(file)
    captions = [text for key, text in script.items() if key != "global_caption"]
    frames_per_shot = len(pictures) // len(captions)
    # matplotlib ships this font, so the result is the same everywhere.
    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 14)

    frames = []
    for number, picture in enumerate(pictures):
        shot = number // frames_per_shot
        width, height = picture.width * SCALE, picture.height * SCALE
        frame = Image.new("RGB", (width, height + CAPTION_HEIGHT), "white")
        frame.paste(picture.resize((width, height), Image.Resampling.NEAREST))
        text = f"{shot + 1}  {captions[shot]}"
        ImageDraw.Draw(frame).text((8, height + 6), text, fill="black", font=font)
        frames.append(frame.quantize(COLORS, kmeans=2, dither=Image.Dither.NONE))
    milliseconds = round(1000 / rate)
    frames[0].save(out, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
