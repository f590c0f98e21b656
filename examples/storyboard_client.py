"""Three shots of a story by program: run `shotstream serve` first (docs/serving.md)."""

from shotstream_jax.client import Storyboard

board = Storyboard("http://127.0.0.1:8765")
story = board.new_story("A cartoon about a green frog.", seed=1)
shots = [
    story.ask("The frog is dancing in the meadow."),
    story.ask("The frog is jumping on the hill."),
    story.ask("The frog is sleeping."),
]
for chunk in story.chunks(shots):
    pictures = chunk.frames()  # uint8 [frames, height, width, 3], as soon as they are made
    print(f"shot {chunk.shot[:6]}, frames from {chunk.first_frame}: {pictures.shape}")
print(f"saved {story.save_film('frog.mp4')}; go on with it at {story.link()}")
