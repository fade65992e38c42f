"""What moved a decision: occlusion maps, which need the classifier's answers only and so work for every model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from fer_lib.annotate import GREY, block_size, box_colour, captions, text_block
from fer_lib.faces import Faces
from fer_lib.recognize import BATCH, Recognizer

GRID = 10  # places a side; 100 answers a face are under half a second on two cores
COVER = 1 / 3  # of the crop's side: about a mouth's width; with 1/4 a pixel's shift of the crop changes the map more
LEAST_P = 1e-6  # bounds the log-odds of an answer that is all or nothing

MOST_FACES = 24  # of one picture; the others would cost time and make the print small
SIDE = 288  # pixels a shown face
GAP = 12  # pixels between what is shown
TEXT = 15  # pixels
AGAINST, FOR = (33, 102, 172), (178, 24, 43)  # the ends of ColorBrewer's RdBu, safe for the colour-blind
OPACITY = 0.75  # where the effect is strongest; the face must stay visible
FAINT = 0.5  # log-odds at which the colours reach their full strength at the earliest, lest noise look like a reason


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why one face got one answer."""

    heat: np.ndarray  # (S, S) float32, fall of the answer's log-odds (natural) when the pixel is covered
    before: float  # probability of the answer, nothing covered
    after: float  # and with the place covered that changes it most
    place: tuple[float, float]  # x, y of that place's middle, pixels of the crop


def occlusion_map(classify: Callable[[np.ndarray], np.ndarray], crop: np.ndarray, column: int) -> Explanation:
    """What covering each part of (S, S, 3) uint8 `crop` does to the answer in `column` of classify's output.

    classify: (N, S, S, 3) uint8 to (N, C) probabilities. Positive heat spoke for the answer: covering it lowers the
    log-odds; negative spoke against it. Occlusion is Zeiler and Fergus's (2014), here with a soft cover, a Gaussian of
    COVER of the side at half its height, at GRID x GRID places. A pixel's heat is the mean of the falls, weighted by
    how much each place covered it.
    """
    side = crop.shape[0]
    middles = (np.arange(GRID) + 0.5) * side / GRID - 0.5
    sigma = COVER * side / 2.355  # width at half height to standard deviation
    soft = np.exp(-((np.arange(side) - middles[:, None]) ** 2) / (2 * sigma**2))  # (GRID, S), the cover along one axis
    # A blur takes the features away and leaves the light on the face, where plain grey would be a spot of its own.
    pixels = crop.astype(np.float32)
    blurred = cv2.GaussianBlur(pixels, (0, 0), COVER * side, borderType=cv2.BORDER_REPLICATE)
    places = [(y, x) for y in range(GRID) for x in range(GRID)]
    before = classify(crop[None])
    after = []
    for start in range(0, len(places), BATCH):
        weights = [np.outer(soft[y], soft[x])[..., None] for y, x in places[start : start + BATCH]]
        covered = [pixels + weight * (blurred - pixels) for weight in weights]
        after.append(classify(np.stack(covered).round().astype(np.uint8)))
    after = np.concatenate(after)
    fall = (_log_odds(before, column) - _log_odds(after, column)).reshape(GRID, GRID)
    share = soft.sum(axis=0)
    y, x = np.unravel_index(np.abs(fall).argmax(), fall.shape)
    return Explanation(
        heat=(soft.T @ fall @ soft / np.outer(share, share)).astype(np.float32),
        before=float(before[0, column]),
        after=float(after[y * GRID + x, column]),
        place=(float(middles[x]), float(middles[y])),
    )


def _log_odds(probabilities: np.ndarray, column: int) -> np.ndarray:
    """(N,) log(p / (1 - p)); 1 - p as the sum of the other columns, which is exact where p is close to 1."""
    rest = np.delete(probabilities, column, axis=1).sum(axis=1)
    return np.log(np.maximum(probabilities[:, column], LEAST_P)) - np.log(np.maximum(rest, LEAST_P))


def explained_picture(recognise: Recognizer, image: np.ndarray, faces: Faces, va_scale: str = "unit") -> np.ndarray:
    """draw_explanations of the largest MOST_FACES faces; `faces`, at least one, are recognise's answer to `image`."""
    areas = np.prod(faces.xyxy[:, 2:] - faces.xyxy[:, :2], axis=1)
    rows = np.sort(np.argsort(-areas, kind="stable")[:MOST_FACES])
    part = faces[rows]
    crops = recognise.crops(image, part)
    answers = part.emotion.argmax(axis=1)
    explanations = [occlusion_map(recognise.classify, *each) for each in zip(crops, answers, strict=True)]
    titles = [f"face {row + 1}" for row in rows]
    note = f"the {len(rows)} largest of {len(faces)} faces" if len(rows) < len(faces) else ""
    return draw_explanations(recognise.crops(image, part, SIDE), part, explanations, titles, va_scale, note)


def draw_explanations(
    views: np.ndarray, faces: Faces, explanations: list[Explanation], titles, va_scale: str = "unit", note: str = ""
) -> np.ndarray:
    """(H, W, 3) uint8: each face with its caption, and beside it in grey under its heat; below what the colours mean.

    views: (N, V, V, 3) uint8 RGB, the regions of the crops that were explained, N >= 1 and V about SIDE, to hold the
    text. titles: a word or two a face. note: words for the last line.
    """
    lines = captions(faces, va_scale)
    lines = [[f"{title}: {first}", *rest] for title, (first, *rest) in zip(titles, lines, strict=True)]
    valence = [None] * len(faces) if faces.va is None else faces.va[:, 0].tolist()
    names, _ = faces.best()  # also of a face that is called uncertain
    panels = [_panel(*each) for each in zip(views, lines, map(box_colour, valence), names, explanations, strict=True)]
    legend = _legend(note)
    height, width = panels[0].shape[:2]
    columns = max(1, round(np.sqrt(len(panels) * height / width)))  # about as wide as high
    rows = -(-len(panels) // columns)
    down = (height + GAP) * rows + GAP
    out = np.full((down + legend.shape[0] + GAP, (width + GAP) * columns + GAP, 3), 255, np.uint8)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        _paste(out, panel, GAP + column * (width + GAP), GAP + row * (height + GAP))
    _paste(out, legend, GAP, down)
    return out


def _paste(out: np.ndarray, part: np.ndarray, x: int, y: int) -> None:
    out[y : y + part.shape[0], x : x + part.shape[1]] = part


def _panel(view, lines, colour, name: str, explanation: Explanation) -> np.ndarray:
    """One face twice, each under its caption."""
    side = view.shape[0]
    covered = [f"ring hidden: {name} {_change(explanation.before, explanation.after)}"]
    top = block_size(lines, TEXT)[1]
    panel = np.full((top + side, 2 * side + GAP // 2, 3), 255, np.uint8)
    heated = _heated(view, explanation)
    for picture, text, fill, x in ((view, lines, colour, 0), (heated, covered, GREY, side + GAP // 2)):
        block = text_block(text, TEXT, fill)
        _paste(panel, block[:, :side], x, top - block.shape[0])
        _paste(panel, picture, x, top)
    return panel


def _change(before: float, after: float) -> str:
    """ "97% to 89%"; up to two decimals where it needs them: "99.98% to 99.41%"."""
    for decimals in range(3):
        texts = [f"{100 * p:.{decimals}f}%" for p in (before, after)]
        if texts[0] != texts[1]:
            break
    return " to ".join(texts)


def _heated(view: np.ndarray, explanation: Explanation) -> np.ndarray:
    """(V, V, 3) uint8: the face in grey, so that every colour is heat, and a ring where covering changes most."""
    side = view.shape[0]
    heat = cv2.resize(explanation.heat, (side, side), interpolation=cv2.INTER_LINEAR)
    strength = np.clip(heat / max(FAINT, np.abs(heat).max()), -1, 1)
    grey = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    out = _tint(grey, strength)
    scale = side / explanation.heat.shape[0]
    middle = tuple(round((value + 0.5) * scale - 0.5) for value in explanation.place)
    for shade, thickness in ((255, 4), (0, 1)):  # black within white is seen on every colour
        cv2.circle(out, middle, round(COVER / 2 * side), (shade,) * 3, thickness, cv2.LINE_AA)
    return out


def _tint(grey: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 under FOR where (H, W) strength is towards 1, under AGAINST towards -1, as it is at 0."""
    colour = np.where(strength[..., None] > 0, np.float32(FOR), np.float32(AGAINST))
    opacity = OPACITY * np.abs(strength)[..., None]
    return (grey * (1 - opacity) + colour * opacity).round().astype(np.uint8)


def _legend(note: str) -> np.ndarray:
    """What the colours and the ring mean; note: one more line."""
    against = text_block(["blue: spoke against the answer"], TEXT, AGAINST)
    spoke_for = text_block(["red: spoke for it"], TEXT, FOR)
    ramp = np.tile(np.linspace(-1, 1, 8 * TEXT), (against.shape[0], 1))
    colours = np.hstack([against, _tint(np.full((*ramp.shape, 3), 160, np.uint8), ramp), spoke_for])
    lines = ["ring: the place whose hiding changes the answer most", *([note] if note else [])]
    words = text_block(lines, TEXT, GREY)
    out = np.full((colours.shape[0] + words.shape[0], max(colours.shape[1], words.shape[1]), 3), 255, np.uint8)
    _paste(out, colours, 0, 0)
    _paste(out, words, 0, colours.shape[0])
    return out
