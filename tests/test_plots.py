"""Figures hold what they were given, checked on their artists, and fit on their page, checked on a drawing."""

from __future__ import annotations

import io
import warnings
from itertools import combinations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

from fer_lib import plots  # noqa: E402
from fer_lib.faces import EMOTIONS, FER2013_EMOTIONS  # noqa: E402
from fer_lib.series import Series  # noqa: E402

LONG = "PrivateTest, fer2013 head, two-stage training and averaged weights, three seeds (demo data)"
TWENTY = [f"class {i}" for i in range(20)]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def texts(artists) -> list[str]:
    return [artist.get_text() for artist in artists]


def legend(figure) -> list[str]:
    return texts(figure.legends[0].get_texts())


def marked(container) -> tuple[list, list, list]:
    """x, y and interval ends [(low, high), ..] of an errorbar; a point that is nan has no ends."""
    points, _, (bars,) = container.lines
    along = 0 if container.has_xerr else 1
    return *points.get_data(), [tuple(segment[:, along]) for segment in bars.get_segments() if len(segment)]


def test_save_is_complete_or_not_at_all_and_leaves_the_figure(tmp_path, monkeypatch):
    figure = plots.history([{"epoch": 1, "k": 0.5}], {"k": "a curve"})
    plots.save(figure, tmp_path / "new" / "a.png")
    size = Image.open(tmp_path / "new" / "a.png").size
    assert size == pytest.approx(150 * figure.get_size_inches(), abs=1) and plt.fignum_exists(figure.number)
    before = (tmp_path / "new" / "a.png").read_bytes()

    def fails(path, **_):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", fails)
    with pytest.raises(KeyboardInterrupt):
        plots.save(figure, tmp_path / "new" / "a.png")
    assert [path.read_bytes() for path in (tmp_path / "new").iterdir()] == [before]


def test_history_has_a_line_per_curve():
    epochs = [{"epoch": n, "loss": 2.0 - n, "accuracy": 0.1 * n, "seconds": 9} for n in (1, 2, 3)]
    figure = plots.history(epochs, {"loss": "training loss", "accuracy": "accuracy"}, "a run")
    (axes,) = figure.axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1, 0, -1], pytest.approx([0.1, 0.2, 0.3])]
    assert all(list(line.get_xdata()) == [1, 2, 3] for line in axes.lines)
    assert legend(figure) == ["training loss", "accuracy"] and figure.get_suptitle() == "a run"
    assert axes.get_xlabel() == "epoch"
    assert len({line.get_marker() for line in axes.lines}) == len({line.get_linestyle() for line in axes.lines}) == 2


def test_history_draws_every_curve_and_leaves_a_gap_for_none():
    epochs = [{"epoch": 1, **{f"k{i}": i for i in range(12)}}, {"epoch": 2, **{f"k{i}": None for i in range(12)}}]
    (axes,) = plots.history(epochs, {f"k{i}": f"curve {i}" for i in range(12)}).axes
    assert [line.get_ydata()[0] for line in axes.lines] == list(range(12))
    assert all(np.isnan(line.get_ydata()[1]) for line in axes.lines)
    with pytest.raises(KeyError):
        plots.history(epochs, {"kk": "misspelt"})


def test_confusion_has_the_share_of_each_row_in_each_cell():
    figure = plots.confusion([[3, 1, 0], [0, 2, 0], [0, 0, 0]], ["happy", "sad", "fear"], "a model")
    (axes,) = figure.axes
    assert texts(axes.texts) == ["75", "25", "0", "0", "100", "0", "no rows"]
    assert axes.texts[-1].get_position() == (1.5, 2.5)  # the third row's middle
    assert [text.get_color() for text in axes.texts[:3]] == ["white", "black", "black"]
    assert texts(axes.get_yticklabels()) == ["happy (4)", "sad (2)", "fear (0)"]
    assert texts(axes.get_xticklabels()) == ["happy", "sad", "fear"]
    assert figure.get_suptitle() == "a model" and not axes.images  # cells are a mesh, no picture


def test_reliability_has_accuracy_over_confidence_and_the_rows_of_each_bin():
    truth = [0, 0, 0, 0]
    sure = [[0.6, 0.4], [0.4, 0.6], [0.9, 0.1], [0.9, 0.1]]
    flat = [[0.5, 0.5]] * 4  # (0.25, 0.5], all right
    figure = plots.reliability(truth, {"sure": sure, "flat": flat}, "a model", bins=4)
    axes, below = figure.axes
    x, y, ends = marked(axes.containers[0])
    nan = float("nan")
    assert x == pytest.approx([nan, nan, 0.6, 0.9], nan_ok=True) and y == pytest.approx([nan, nan, 0.5, 1], nan_ok=True)
    # Wilson with z = 1.96: 1 of 2 is 0.5 -+ 0.4055; 2 of 2 begins at 2 / (2 + z^2)
    assert ends[0] == pytest.approx((0.0945, 0.9055), abs=1e-4) and ends[1] == pytest.approx((0.3424, 1), abs=1e-4)
    assert [[bar.get_height() for bar in bars] for bars in below.containers] == [[0, 0, 2, 2], [0, 4, 0, 0]]
    for bars in below.containers:  # each inside its bin
        assert all(i / 4 <= bar.get_x() < bar.get_x() + bar.get_width() <= (i + 1) / 4 for i, bar in enumerate(bars))
    assert below.containers[0][2].get_x() + below.containers[0][2].get_width() <= below.containers[1][2].get_x() + 1e-9
    assert legend(figure) == ["confidence = accuracy", "sure: ECE 0.100", "flat: ECE 0.500"]
    assert axes.containers[0].lines[0].get_marker() != axes.containers[1].lines[0].get_marker()
    assert below.containers[0][0].get_hatch() != below.containers[1][0].get_hatch()


def test_coverage_has_a_curve_and_a_mark_for_each_model():
    """Surest first: right, right and wrong at once, wrong. A mark lies where answers end; above all there is none."""
    pairs = {"a": ([0.9, 0.8, 0.5, 0.8], [1, 1, 0, 0]), "b": ([0.7, 0.6], [0, 1]), "c": ([0.5], [1])}
    figure = plots.coverage(pairs, "three models", {"b": 0.65, "c": 1.0})
    (axes,) = figure.axes
    drawn = [(line.get_xdata().tolist(), pytest.approx(line.get_ydata().tolist())) for line in axes.lines]
    assert drawn == [([0.25, 0.75, 1], [1, 2 / 3, 0.5]), ([0.5, 1], [0, 0.5]), ([0.5], [0]), ([1], [1])]
    assert legend(figure) == ["a", "b", "uncertain below 0.65: 0.0% of 50.0%", "c"]
    a, b, mark, c = axes.lines
    assert mark.get_marker() not in ("", "None", None) and mark.get_linestyle() == "None"
    assert mark.get_color() == b.get_color() != a.get_color() and len({x.get_linestyle() for x in (a, b, c)}) == 3
    (axes,) = plots.coverage({"a": pairs["a"]}, marks={"a": 0.8}).axes  # at the threshold itself is answered
    assert (axes.lines[1].get_xdata(), axes.lines[1].get_ydata()) == ([0.75], [pytest.approx(2 / 3)])
    assert axes.get_xlim()[0] == 0 and axes.get_ylim()[1] > 1


def test_recall_has_the_share_its_interval_and_the_rows():
    first, second = [[3, 1, 0], [0, 0, 0], [1, 0, 0]], [[4, 0, 0], [0, 0, 0], [0, 0, 1]]
    figure = plots.recall({"first": first, "second": second}, ["happy", "sad", "fear"], "two models")
    (axes,) = figure.axes
    (x, y, ends), (x2, y2, _) = map(marked, axes.containers)
    assert x == pytest.approx([75, np.nan, 0], nan_ok=True) and x2 == pytest.approx([100, np.nan, 100], nan_ok=True)
    assert y == pytest.approx([-0.2, 0.8, 1.8]) and y2 == pytest.approx([0.2, 1.2, 2.2])
    # Wilson by hand: (0.75 + z^2 / 8 -+ z sqrt(0.1875 / 4 + z^2 / 64)) / (1 + z^2 / 4); 0 of 1 ends at z^2 / (1 + z^2)
    assert ends[0] == pytest.approx((30.06, 95.44), abs=0.01) and ends[1] == pytest.approx((0, 79.35), abs=0.01)
    assert texts(axes.get_yticklabels()) == ["happy (4)", "sad (0)", "fear (1)"]
    assert [(text.get_text(), text.get_position()[1]) for text in axes.texts] == [("no rows", 1)]
    assert axes.yaxis_inverted() and legend(figure) == ["first", "second"]
    assert axes.containers[0].lines[0].get_marker() != axes.containers[1].lines[0].get_marker()


def test_recall_shows_the_fewest_and_the_most_rows_when_models_differ():
    (axes,) = plots.recall({"a": [[1, 0], [0, 2]], "b": [[1, 0], [0, 0]]}, ["happy", "sad"]).axes
    assert texts(axes.get_yticklabels()) == ["happy (1)", "sad (0-2)"] and not axes.texts


def test_class_counts_has_a_bar_and_a_number_for_each_class_and_part():
    counts = {"Training": np.array([7215, 0]), "PublicTest": [895, 5]}
    figure = plots.class_counts(counts, ["happy", "disgust"], "FER2013")
    (axes,) = figure.axes
    assert [[bar.get_width() for bar in bars] for bars in axes.containers] == [[7215, 0], [895, 5]]
    middles = [[bar.get_y() + bar.get_height() / 2 for bar in bars] for bars in axes.containers]
    assert middles == [pytest.approx([-0.2, 0.8]), pytest.approx([0.2, 1.2])]
    assert texts(axes.texts) == ["7,215", "0", "895", "5"] and legend(figure) == ["Training", "PublicTest"]
    assert texts(axes.get_yticklabels()) == ["happy", "disgust"] and axes.yaxis_inverted()
    assert axes.containers[0][0].get_hatch() != axes.containers[1][0].get_hatch()
    figure.canvas.draw()
    assert all(text.get_window_extent().x1 < axes.bbox.x1 for text in axes.texts)  # none crosses the frame


def test_valence_arousal_has_the_class_points_and_the_predictions():
    figure = plots.valence_arousal({"happy": [[0.5, 0.25], [1, -1]], "sad": np.zeros((0, 2))}, "a model")
    (axes,) = figure.axes
    assert [scatter.get_offsets().tolist() for scatter in axes.collections] == [[[0.5, 0.25], [1, -1]], []]
    assert legend(figure) == ["happy (2)", "sad (0)"]
    points = dict(zip(EMOTIONS, axes.lines[-1].get_xydata(), strict=True))
    assert points["happy"] == pytest.approx([1.88 / 3, 1.27 / 3]) and points["uncertain"] == pytest.approx([0, 0])
    names = {text.get_text(): text.xy for text in axes.texts}
    assert set(names) == {*EMOTIONS[:5], "neutral, uncertain", "sad", "surprise"}
    assert all(names[name] == pytest.approx(points[name]) for name in set(names) & set(EMOTIONS))
    across, up = axes.lines[:2]  # the axes through zero
    assert set(across.get_ydata()) == set(up.get_xdata()) == {0}
    for wrong in ([[5.88, 5.27]], [[0.0, float("nan")]]):
        with pytest.raises(ValueError, match="from_seven"):
            plots.valence_arousal({"1-7": wrong})


def test_valence_arousal_counts_points_as_density():
    figure = plots.valence_arousal({"a": [[0.5, 0.5]] * 3, "b": [[0.5, 0.5], [-0.7, 0.1]]}, density=True)
    axes, bar = figure.axes
    assert sorted(axes.collections[0].get_array().tolist()) == [1, 4] and bar.get_xlabel() == "rows"
    assert len(plots.valence_arousal({"a": []}, density=True).axes) == 1


@pytest.mark.parametrize("points", [{}, {name: [[0.1, 0.1]] for name in EMOTIONS}])
def test_class_names_cover_neither_each_other_nor_another_point(points):
    figure = plots.valence_arousal(points)
    figure.canvas.draw()
    (axes,) = figure.axes
    boxes = {text.get_text(): text.get_tightbbox() for text in axes.texts}
    assert not [pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])]
    pixels = axes.transData.transform(axes.lines[-1].get_xydata())
    assert not [name for name, box in boxes.items() for point in pixels if box.contains(*point)]


def test_gallery_tells_right_from_wrong_without_colour():
    grey, colour = np.full((4, 4), 90, np.uint8), np.zeros((6, 3, 3), np.uint8)
    figure = plots.gallery([grey, colour], [0, 0], [[0.9, 0.1], [0.25, 0.75]], ["happy", "sad"], "demo", columns=3)
    right, wrong, empty = figure.axes
    assert (right.get_xlabel(), wrong.get_xlabel()) == ("✓ happy 90%", "✗ sad 75%\ntrue: happy")
    assert [axes.spines["top"].get_linestyle() for axes in (right, wrong)] == ["solid", (0, (2, 1))]
    assert [axes.images[0].get_array().shape for axes in (right, wrong)] == [(4, 4), (6, 3, 3)]
    assert right.images[0].get_clim() == (0, 255)  # greys are the picture's own, not stretched
    assert right.axison and not empty.axison and not empty.images


def test_gallery_without_labels_judges_nothing(photo):
    (axes,) = plots.gallery([photo], None, [[0.2, 0.8]], ["happy", "sad"], columns=1).axes
    assert axes.get_xlabel() == "sad 80%" and axes.images[0].get_array().shape == photo.shape
    (axes,) = plots.gallery([photo], None, np.array([[False, True]]), ["happy", "sad"], columns=1).axes
    assert axes.get_xlabel() == "sad"  # an answer that says no probability
    with pytest.raises(ValueError, match="shorter|longer"):
        plots.gallery([photo], [0, 1], [[0.2, 0.8]], ["happy", "sad"])


def test_intervals_have_the_figure_and_its_ends_of_each_group():
    (axes,) = plots.intervals({"a": (2.0, 1.0, 4.0), "b": (-3.0, -3.5, -1.0)}, "years", "some").axes
    x, y, ends = marked(axes.containers[0])
    assert (list(x), list(y), ends) == ([2, -3], [0, 1], [(1, 4), (-3.5, -1)]) and axes.get_xlim()[0] <= -3.5
    assert texts(axes.get_yticklabels()) == ["a", "b"] and axes.get_xlabel().startswith("years,")


def test_ages_are_counted_about_the_diagonal():
    axes, _ = plots.ages([10, 10, 60], [10, 10, 70]).axes
    (cells,) = axes.collections
    assert sorted(cells.get_array().tolist()) == [1, 2] and axes.get_xlim() == axes.get_ylim() == (0, 70)


def test_a_timeline_has_a_panel_per_model_and_names_what_was_acted():
    times, gap = [0.0, 1.0, 2.0], np.array([[0.2, 0.8, 0.0], [np.nan] * 3, [0.5, 0.5, 0.0]])
    figure = plots.timeline(
        times, {"one": gap, "two": 1 - gap}, ["sad", "happy", "fear"], [(0, 1.5, "happy")], "a film"
    )
    one, two = figure.axes
    assert [line.get_label() for line in one.lines if line.get_label()[0] != "_"] == ["sad", "happy"]  # fear: never
    assert one.lines[0].get_ydata().tolist() == pytest.approx([20, np.nan, 50], nan_ok=True)
    assert texts(one.texts) == texts(two.texts) == ["happy"] and one.texts[0].get_position()[0] == 0.75
    assert one.get_title("left") == "one" and two.get_xlabel() == "seconds" and figure.get_suptitle() == "a film"


def probability(n: int, classes: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(classes), n)


MANY = np.arange(400).reshape(20, 20)
PICTURES = np.random.default_rng(0).integers(0, 256, (7, 8, 8), np.uint8)
ACTED = [(10 * i, 10 * i + 10, name) for i, name in enumerate(EMOTIONS)]
EPOCHS = [{"epoch": i, **{f"k{j}": i * j for j in range(7)}} for i in range(60)]
SURE = np.random.default_rng(0).random(99), np.random.default_rng(1).random(99) < 0.7
CASES = {
    "history": lambda: plots.history(EPOCHS, {f"k{j}": f"curve number {j}" for j in range(7)}, LONG),
    "history of one epoch": lambda: plots.history(EPOCHS[:1], {"k1": LONG}),
    "history of nothing": lambda: plots.history([], {"loss": "loss"}, "none"),
    "confusion of twenty": lambda: plots.confusion(MANY, TWENTY, LONG),
    "confusion of nine": lambda: plots.confusion(MANY[:9, :9] * 100, EMOTIONS, LONG),
    "confusion of one": lambda: plots.confusion([[3]], ["happy"], LONG),
    "confusion of nothing": lambda: plots.confusion(np.zeros((7, 7), int), FER2013_EMOTIONS),
    "reliability": lambda: plots.reliability([0] * 99, {"a": probability(99, 7), LONG: probability(99, 7)}, LONG),
    "reliability of one class": lambda: plots.reliability([0], {"a": [[1.0]]}),
    "reliability of nothing": lambda: plots.reliability([], {"a": np.zeros((0, 7))}, "none"),
    "coverage": lambda: plots.coverage({"a": SURE, LONG: SURE, "c": SURE}, LONG, {"a": 0.5, LONG: 0.7, "c": 0.3}),
    "coverage of one": lambda: plots.coverage({"a": ([0.5], [True])}, LONG, {"a": 0.5}),
    "coverage of nothing": lambda: plots.coverage({"a": ([], [])}, "none", {"a": 0.5}),
    "recall of twenty": lambda: plots.recall({f"model {i}": MANY + i for i in range(5)}, TWENTY, LONG),
    "recall of one": lambda: plots.recall({"a": [[1]]}, ["happy"], LONG),
    "recall of nothing": lambda: plots.recall({"a": np.zeros((7, 7), int)}, FER2013_EMOTIONS, "none"),
    "counts of twenty": lambda: plots.class_counts({"a": MANY[0] * 9999, LONG: MANY[1]}, TWENTY, LONG),
    "counts of zeros": lambda: plots.class_counts({"a": np.zeros(7, int)}, FER2013_EMOTIONS, "none"),
    "counts of nothing": lambda: plots.class_counts({}, [], "none"),
    "plane": lambda: plots.valence_arousal({name: [[0, 0]] for name in EMOTIONS}, LONG),
    "plane with density": lambda: plots.valence_arousal({"a": [[0, 0]] * 5}, LONG, density=True),
    "intervals": lambda: plots.intervals({name: (50, 40, 60) for name in TWENTY}, "accuracy, %, PrivateTest", LONG),
    "intervals of nothing": lambda: plots.intervals({}, "years", "none"),
    "ages": lambda: plots.ages(SURE[0] * 100, SURE[0] * 90, LONG),
    "ages of nothing": lambda: plots.ages([], [], "none"),
    "timeline": lambda: plots.timeline(
        np.arange(99.0), dict.fromkeys(TWENTY[:8], probability(99, 9)), EMOTIONS, ACTED, LONG
    ),
    "timeline of nothing": lambda: plots.timeline([], {}, EMOTIONS, [], "none"),
    "film": lambda: plots.faces_over_time(Series.of(film(9)), LONG),
    "film without faces": lambda: plots.faces_over_time(Series.of([]), LONG),
    "gallery": lambda: plots.gallery(PICTURES, [8] * 7, probability(7, 9), EMOTIONS, LONG),
    "gallery of nothing": lambda: plots.gallery([], [], np.zeros((0, 9)), EMOTIONS, "none"),
}


@pytest.mark.parametrize("case", CASES)
def test_figures_fit_on_their_page(case):
    figure = CASES[case]()
    file = io.BytesIO()
    figure.savefig(file, dpi=150)
    file.seek(0)
    image = plt.imread(file)
    width, height = figure.get_size_inches()
    assert image.shape[:2] == pytest.approx((height * 150, width * 150), abs=1)
    assert (image[..., :3].min(axis=2) < 0.9).sum() > 500  # more than a few dots: the smallest case has 900
    page = figure.get_tightbbox()  # inches
    assert page.x0 >= 0 and page.y0 >= 0 and page.x1 <= width and page.y1 <= height
    blocks = [axes.get_tightbbox() for axes in figure.axes if axes.axison] + [
        artist.get_window_extent() for artist in (*figure.legends, *figure.texts)
    ]
    assert not [pair for pair in combinations(blocks, 2) if pair[0].overlaps(pair[1])]


def test_figures_say_where_there_are_no_rows():
    for case in (
        "history",
        "confusion",
        "reliability",
        "coverage",
        "recall",
        "gallery",
        "intervals",
        "ages",
        "timeline",
    ):
        figure = CASES[f"{case} of nothing"]()
        assert "no rows" in [text for axes in figure.axes for text in texts(axes.texts)], case


def film(faces: int, va: bool = True):
    """Ten seconds at 10 frames/s: face k is happy, then sad, and is gone for k seconds at the start."""
    for frame in range(100):
        known = [k for k in range(faces) if frame >= 10 * k]
        for k in known:
            name = "happy" if frame < 60 else "sad"
            row = {"source": "a.mp4", "frame": frame, "time_s": frame / 10, "face_id": k, "emotion": name, name: 0.75}
            yield row | {"fear": 0.01} | ({"valence": 0.5, "arousal": -0.25} if va else {})
        if not known:
            yield {"source": "a.mp4", "frame": frame, "time_s": frame / 10}


def test_faces_over_time_has_a_row_per_emotion_and_a_panel_per_face():
    figure = plots.faces_over_time(Series.of(film(2)), "a film")
    emotions, va, later, _ = figure.axes
    assert texts(emotions.get_yticklabels()) == ["sad", "happy"]  # from below; fear is never probable
    happy, sad = (it.get_paths()[0].vertices for it in emotions.collections)
    for points, ground, (start, end) in ((happy, 1, (0, 6)), (sad, 0, (6, 10))):
        filled = points[points[:, 1] > ground + 0.01]
        assert np.unique(filled[:, 1]).tolist() == pytest.approx([ground + 0.92 * 0.75])
        assert (filled[:, 0].min(), filled[:, 0].max()) == pytest.approx((start, end))
    assert later.collections[0].get_paths()[0].get_extents().x0 == pytest.approx(1)
    assert later.get_title(loc="left") == "face 1, seen for 9.0 s"
    assert [np.unique(line.get_ydata()).tolist() for line in va.lines] == [[0.5], [-0.25]]
    assert legend(figure) == ["valence", "arousal"] and va.lines[0].get_linestyle() != va.lines[1].get_linestyle()
    assert figure.get_suptitle() == "a film"


def test_faces_over_time_of_many_faces_and_of_none():
    figure = plots.faces_over_time(Series.of(film(9, va=False)), "a film")
    assert len(figure.axes) == 6 and not figure.legends
    assert figure.get_suptitle().replace("\n", " ") == "a film: 3 more, seen for 5.0 s or less, left out"
    for rows in (film(0), []):
        (axes,) = plots.faces_over_time(Series.of(rows)).axes
        assert "no rows" in texts(axes.texts)


def test_plot_video_leaves_a_picture_and_no_figure(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of glyphs that the font lacks
        plots.plot_video(film(1), tmp_path / "a.png", "a film \u4eba\n\x1b.mp4")
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 10 and not plt.get_fignums()
