"""A world of multi-shot stories drawn by code: films, captions, and the truth about every frame.

shapes, affine, draw                   signed distances → pixels
actions, clothing, figure, characters  who is drawn, and in which pose
scenery, places                        where
camera                                 how it is seen
plot, captions → story                 what happens, and how it is described
render → Film                          pictures and truth
source, shots                          the world as training data
files, sheet                           the world as files
"""
