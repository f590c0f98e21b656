"""What the paper says (arXiv:2603.25746v1, Table 1), quoted.

Its 100 stories were written by Gemini 2.5 Pro and are not public; its weights are those of
`figures`, but for the detector. So figures of other stories stand beside these, and are no rerun.
Its tables 3 and 4 give 63.06 for the dynamic degree of the same model.
"""

_NAMES = (
    "intra_subject",
    "intra_background",
    "inter_semantic",
    "inter_subject",
    "inter_background",
    "sca",
    "text_alignment",
    "aesthetic",
    "dynamic_degree",
)
_ROWS = {
    "Mask2DiT": (0.646, 0.679, 0.711, 0.612, 0.534, 0.513, 0.184, 0.520, 48.91),
    "EchoShot": (0.772, 0.739, 0.596, 0.392, 0.396, 0.664, 0.186, 0.543, 65.92),
    "CineTrans": (0.776, 0.797, 0.459, 0.412, 0.459, 0.572, 0.170, 0.513, 59.47),
    "Self Forcing": (0.737, 0.707, 0.738, 0.542, 0.445, 0.633, 0.214, 0.512, 55.45),
    "LongLive": (0.758, 0.792, 0.722, 0.594, 0.565, 0.693, 0.216, 0.565, 58.45),
    "Rolling Forcing": (0.725, 0.781, 0.758, 0.561, 0.473, 0.684, 0.223, 0.523, 62.26),
    "Infinity-RoPE": (0.752, 0.738, 0.622, 0.453, 0.407, 0.715, 0.209, 0.513, 63.40),
    "ShotStream": (0.825, 0.819, 0.762, 0.654, 0.645, 0.978, 0.234, 0.571, 63.56),
}
PAPER = {method: dict(zip(_NAMES, row, strict=True)) for method, row in _ROWS.items()}
OURS = "ShotStream"  # the method that this package is of
