"""Write the README's figures from the files that runs wrote, and its pictures with the default model.

    python tools/update_readme.py

A test holds the figures to the files.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fer_lib.benchmark import read_peer  # noqa: E402  the path must be set first
from fer_lib.quiet import quiet_stderr  # noqa: E402  the path must be set first
from fer_lib.weights import DEFAULT_MODEL, FAST_FILES, KERAS_FILE, load_card  # noqa: E402  the path must be set first

README = ROOT / "README.md"
RESULTS = ROOT / "results" / "10_best_model"


def model_table() -> str:
    """The default model's figures, from its notebook's metrics.json and run.json and from its card."""
    metrics, facts = (json.loads((RESULTS / name).read_text()) for name in ("metrics.json", "run.json"))
    card = load_card(DEFAULT_MODEL)
    rows = [
        ("FER2013 PrivateTest, `fer2013` head", "PrivateTest", "accuracy", "n"),
        ("the same without the pictures that stand in Training", "PrivateTest", "accuracy_without_duplicates", None),
        ("FER+ test rows, `emotion` head", "PrivateTest", "ferplus_accuracy", "ferplus_n"),
        ("three networks and mirror images (not shipped), FER2013 PrivateTest", "ensemble", "accuracy", "n"),
        ("the same, FER+ test rows", "ensemble", "ferplus_accuracy", "ferplus_n"),
    ]
    lines = ["| test | n | accuracy | 95 % interval |", "|---|---|---|---|"]
    for title, part, key, count in rows:
        low, high = metrics[part]["intervals"][key]
        n = metrics[part][count] if count else ""
        lines.append(f"| {title} | {n} | {metrics[part][key]:.1%} | {low:.1%} to {high:.1%} |")
    for name, score in card.scores.items():
        if name.startswith("CK+"):
            low, high = score["interval"]
            lines.append(f"| {name} | {score['n']} | {score['value']:.1%} | {low:.1%} to {high:.1%} |")
    seconds = [epoch["seconds"] for stage in facts["epochs"].values() for epoch in stage]
    emotion, fer2013 = (metrics["heads"][head] for head in ("emotion", "fer2013"))
    told, at = metrics["uncertain"], metrics["abstaining"]["emotion"]["accuracy_at_coverage"]
    speed = metrics["speed"]
    fast, keras_file = (
        sum((card.folder / name).stat().st_size for name in names) / 1e6 for names in (FAST_FILES, [KERAS_FILE])
    )
    notes = f"""
FER2013's own label is the one most FER+ raters gave in {metrics["label_agreement"]:.1%} of its pictures, which is why
one output cannot serve both. CK+ apex: full-size frames of subjects with odd numbers, best of CK+'s seven classes, by
detector, as the scripts answer and with `--balanced`; the model was not trained on CK+, subjects with even numbers
chose the crop.

- Size and speed: {fast:.0f} MB in the fast form that the scripts use ({keras_file:.0f} MB as Keras file);
  {speed["ms_per_face"]:.1f} ms a face on {speed["cores"]} cores, one face at a time, without detection.
- Confidence: expected calibration error {emotion["ece"]:.3f} (`emotion`, pictures on which most raters agree) and
  {fer2013["ece"]:.3f} (`fer2013`) on PrivateTest, after one temperature a head from PublicTest
  ({emotion["ece_before"]:.3f} and {fer2013["ece_before"]:.3f} before).
- "uncertain": {told["share"]:.1%} of the pictures on which most raters agree are called so, and
  {told["share_without_majority"]:.1%} of the others. Where raters agree, {told["right_told"]:.1%} of the other answers
  are right, and {told["right_not_told"]:.1%} of the best guesses behind an "uncertain" would be; the surest
  {", ".join(f"{share} are right in {at[share]:.1%}" for share in ("90%", "80%", "50%"))}.
- Training: {len(seconds)} epochs of all stages, {sum(seconds) / 3600:.1f} hours on two shared CPU cores, no GPU."""
    return "\n".join([*lines, notes])


def ladder_table() -> str:
    """What each step of the recipe gained on PublicTest, which also chose epochs and averages."""
    lines = ["| step | `fer2013` | gain | `emotion`, FER+ | gain |", "|---|---|---|---|---|"]
    for row in json.loads((RESULTS / "ladder.json").read_text()):
        cells = [row["step"]]
        for head, key in (("fer2013", "public_fer2013"), ("emotion", "public_ferplus")):
            gain = ""
            if f"{head}_gain" in row:
                low, high = (100 * value for value in row[f"{head}_gain_interval"])
                gain = f"{100 * row[f'{head}_gain']:+.1f} ({low:+.1f} to {high:+.1f})"
            cells += [f"{row[key]:.1%}", gain]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def vggface_table() -> str:
    """VGGFace-ResNet50 beside the published figures of the same network, and how it was trained."""
    results = ROOT / "results" / "01_vggface_classifier"
    metrics, facts = (json.loads((results / name).read_text()) for name in ("metrics.json", "run.json"))
    card = load_card("vggface_resnet50")
    lines = ["| test | n | accuracy | 95 % interval | published |", "|---|---|---|---|---|"]
    rows = [
        ("FER2013 PrivateTest, `fer2013` head", "accuracy", "n", "73.2%"),
        ("the same without the pictures that stand in Training", "accuracy_without_duplicates", None, ""),
        ("FER+ test rows, `emotion` head", "ferplus_accuracy", "ferplus_n", "87.6%"),
    ]
    found = metrics["PrivateTest"]
    for title, key, count, published in rows:
        low, high = found["intervals"][key]
        cells = [title, found[count] if count else "", f"{found[key]:.1%}", f"{low:.1%} to {high:.1%}", published]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    stages = facts["recipe"]
    seconds = sum(epoch["seconds"] for name in stages for epoch in facts["epochs"][name])
    trained = ", then ".join(f"{len(facts['epochs'][name])} epochs at {stages[name]['size']} pixels" for name in stages)
    megabytes = (card.folder / KERAS_FILE).stat().st_size / 1e6
    public = metrics["PublicTest"]
    lines.append(f"""
- Training: {trained}, {seconds / 3600:.1f} hours on two CPU cores.
- PublicTest, which chose the epoch: {public["accuracy"]:.1%} and {public["ferplus_accuracy"]:.1%}.
- Confidence: expected calibration error {metrics["heads"]["emotion"]["ece"]:.3f} (`emotion`) and
  {metrics["heads"]["fer2013"]["ece"]:.3f} (`fer2013`) on PrivateTest. Size: {megabytes:.0f} MB.""")
    return "\n".join(lines)


def cnn_table() -> str:
    """The CNNs from scratch on PrivateTest; the ancestors' weak classes and "uncertain" answers of the best of them."""
    with quiet_stderr():  # TensorFlow's remarks about the machine
        from fer_lib.train import best_epoch  # the rule by which the training kept its epoch

    results = ROOT / "results" / "04_cnn_from_scratch"
    metrics, facts = (json.loads((results / name).read_text()) for name in ("metrics.json", "run.json"))
    lines = ["| model | parameters | accuracy | 95 % interval | macro F1 | disgust | surprise | epochs, hours | MB |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for name, found in metrics["networks"].items():
        private = found["PrivateTest"]
        low, high = private["intervals"]["accuracy"]
        epochs = facts["epochs"][name]
        hours = sum(epoch["seconds"] for epoch in epochs) / 3600
        cells = [f"`{name}`", f"{facts['networks'][name]['trainable']:,}", f"{private['accuracy']:.1%}"]
        cells += [f"{low:.1%} to {high:.1%}", f"{private['macro_f1']:.3f}"]
        cells += [f"{found['weak'][emotion]['recall']:.1%}" for emotion in ("disgust", "surprise")]
        megabytes = (load_card(name).folder / KERAS_FILE).stat().st_size / 1e6
        lines.append(f"| {' | '.join(cells)} | {len(epochs)}, {hours:.1f} | {megabytes:.0f} |")
    best = max(metrics["networks"], key=lambda name: metrics["networks"][name]["PrivateTest"]["accuracy"])
    weak, unsure = (metrics["networks"][best][key] for key in ("weak", "uncertain"))
    disgust, surprise = (
        f"{emotion} {it['recall']:.1%} (place {it['place']} of seven; taken for {it['taken_for']} in {it['share']:.1%})"
        for emotion, it in weak.items()
    )
    gaining = [f"`{name}`" for name, epochs in facts["epochs"].items() if best_epoch(epochs) == len(epochs)]
    lines.append(f"""
Best at their last epoch, so that a longer training may give more: {", ".join(gaining) or "none"}.
Of the ancestors' weak classes `{best}` finds: {disgust}; {surprise}. It calls {unsure["share"]:.1%} of the pictures
uncertain; {unsure["right"]:.1%} of these guesses are right, and {unsure["right_others"]:.1%} of the others.""")
    return "\n".join(lines)


def classical_table() -> str:
    """Each classical method on PublicTest by training set and size, and on PrivateTest from all of Training."""
    results = ROOT / "results" / "07_classical_baselines"
    metrics, facts = (json.loads((results / name).read_text()) for name in ("metrics.json", "run.json"))
    heads = f"method | {facts['balanced_rows'] // 7} a class, 48 px | at 200 px | happy or sad | all of Training"
    lines = [f"| {heads} | PrivateTest | 95 % interval |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, private in metrics["PrivateTest"].items():
        balanced = metrics["balanced"][name]
        gain, (low, high) = balanced["gain"]["difference"], balanced["gain"]["interval"]
        cells = [f"{balanced['48']['accuracy']:.1%}", f"{100 * gain:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"]
        cells += [f"{metrics[part][name]['accuracy']:.1%}" for part in ("happy and sad", "PublicTest")]
        low, high = private["interval"]
        cells += [f"{private['accuracy']:.1%}", f"{low:.1%} to {high:.1%}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    shipped, clusters = metrics["shipped"], {}
    for setting, found in metrics["K-Means"].items():
        over_all = found["over_all_numberings"]
        clusters[setting] = f"""{found["clusters_read_as_classes"]:.1%} ({setting}; over all numberings
{over_all["least"]:.1%} to {over_all["most"]:.1%}, named by majority {found["named_by_majority"]:.1%})"""
    gains = [it["gain"]["interval"] for it in metrics["balanced"].values() if np.ptp(it["gain"]["interval"])]
    off = sum(low > 0 or high < 0 for low, high in gains)
    unsure = shipped["uncertain"]
    lines.append(f"""
Gains by enlarging whose interval leaves zero out: {off} of {len(gains)}.
K-Means with its clusters' numbers read as class numbers, PublicTest: {" and ".join(clusters.values())}.
Shipped: {shipped["method"]}, {shipped["accuracy"]:.1%} on PrivateTest; {unsure["share"]:.1%} of its answers are called
uncertain, of which {unsure["right"]:.1%} are right.""")
    return "\n".join(lines)


def va_table() -> str:
    """CCC, RMSE, MAE and Pearson's r of each model's regressor, of the expected class point and of a constant."""
    metrics = json.loads((ROOT / "results" / "03_valence_arousal" / "metrics.json").read_text())
    names = {"regressor": "regressor", "expected": "expected class point", "constant": "constant"}
    lines = [
        "| model | answer | axis | n | CCC | 95 % interval | RMSE | MAE | r |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model, found in metrics["models"].items():
        for kind, title in names.items():
            for axis, row in found[kind].items():
                low, high = row["ccc_interval"]
                r = "" if math.isnan(row["pearson"] or math.nan) else f"{row['pearson']:.3f}"
                cells = [f"`{model}`", title, axis, row["n"], f"{row['ccc']:.3f}", f"{low:.3f} to {high:.3f}"]
                cells += [f"{row['rmse']:.3f}", f"{row['mae']:.3f}", r]
                lines.append(f"| {' | '.join(map(str, cells))} |")
    costs = [f"`{model}` {100 * (found['ratio'] - 1):+.1f}%" for model, found in metrics["models"].items()]
    return "\n".join([*lines, "", f"What the further output costs in time, one face a call: {', '.join(costs)}."])


def speed_table() -> str:
    """Milliseconds a call by model, runtime and batch; what a precision loses; the peer."""
    results = ROOT / "results" / "02_benchmark"
    metrics, peer = json.loads((results / "metrics.json").read_text()), read_peer(results / "peer.json")
    lines = ["| model | runtime | 1 face | 8 | 32 | load, MB |", "|---|---|---|---|---|---|"]
    for model, by_runtime in metrics["latency"].items():
        for runtime, by_batch in by_runtime.items():
            found = metrics["footprint"][model][runtime]
            cells = [model, runtime, *(f"{row['median_ms']:.1f} ms" for row in by_batch.values())]
            lines.append(f"| {' | '.join(cells)} | {found['load_s']:.1f} s, {found['model_mb']:.0f} |")
    machine = metrics["machine"]
    lines.append(f"""
Medians on {machine["cores"]} cores of {machine["cpu"]}, load average {machine["load_average_before"]} before.
Accuracy on PublicTest by precision, and the fastest that loses less than 0.3 points (the scripts compute in float32, so
that answers do not depend on the machine):
""")
    for model, found in metrics["precision"].items():
        shares = "; ".join(
            f"{kind} " + ", ".join(f"`{head}` {share:.2%}" for head, share in row["accuracy"].items())
            for kind, row in found.items()
        )
        picked = f": {metrics['picked'][model]}" if model in metrics["picked"] else " (for the time alone)"
        lines.append(f"- {model}{picked}. {shares}")
    line = metrics["line"]
    verdict = "met" if line["target_met"] else "missed"
    lines.append(f"""
{line["model"]}, {line["precision"]}: {line["median_ms"]:.1f} ms a face. The ancestor's page says
{line["ancestor_ms"]:.0f} ms for this network; the target here, {line["target_ms"]:.0f} ms, is {verdict}.""")
    if peer:
        lines += ["\n| in one run; accuracy stands above | crop | photo |", "|---|---|---|"]
        for name, system in peer["systems"].items():
            times = " | ".join(f"{system[task]['median_ms']:.1f} ms" for task in ("crop", "photo"))
            lines.append(f"| {name} | {times} |")
    return "\n".join(lines)


def video_table() -> str:
    """Frames a second from file to annotated file, beside the peer's, with the stages' times."""
    measured = ROOT / "results" / "benchmark.json"
    if not measured.exists():
        return "Not measured yet: `make bench` writes `results/benchmark.json`."
    found = json.loads(measured.read_text())
    lines = [
        "| film, one face | frames/s | peer `fer` | ratio | core-ms a frame | ms: read, track, classify, draw, write |",
        "|---|---|---|---|---|---|",
    ]
    for name, film in found["films"].items():
        peer, ratio = film.get("fer"), film.get("ratio")
        stages = ", ".join(f"{value:.1f}" for value in film["ours"]["stages_ms"].values())
        cells = [name, f"{film['ours']['frames_per_s']:.0f}", f"{peer['frames_per_s']:.0f}" if peer else "not measured"]
        cells += [f"{ratio:.1f}" if ratio else "", f"{film['ours']['core_ms']:.1f}", stages]
        lines.append(f"| {' | '.join(cells)} |")
    other, photo = found["other_model"], found["photo"]
    lines.append(f"""
Medians of {found["rounds"]} turns on {found["cores"]} cores of {found["cpu"]}, load average
{found["load_average_before"]} before; the stages work at the same time. With `{other["model"]}` at {other["film"]}:
{other["frames_per_s"]:.0f} frames/s. One photo, the whole process: {photo["again_s"]:.2f} s;
{photo["after_other_work_s"]:.2f} s after other work, when libraries and models may come from the disk again.""")
    return "\n".join(lines)


def tracking_table() -> str:
    """What the tracker confuses in made films, and what smoothing costs, by results/tracking.json."""
    found = json.loads((ROOT / "results" / "tracking.json").read_text())
    ways = list(next(iter(found["scenes"].values())))
    lines = [f"| film, 25 frames/s | {' | '.join(ways)} |", "|---" * (1 + len(ways)) + "|"]
    for name, scene in found["scenes"].items():
        cells = [f"{it['switches']} / {it['shared']} / {it['most_fragmentations']}" for it in scene.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| `--smooth`, s | label changes/s | delay, s | 9 of 10 within, s | missed | frames right |"]
    lines.append("|---|---|---|---|---|---|")
    for row in found["smoothing"]:
        name = f"{row['smooth_s']:g}" + " (default)" * (row["smooth_s"] == found["default_smooth_s"])
        cells = [name, f"{row['changes_per_s']:.2f}", f"{row['delay_s']:.2f}", f"{row['delay_90_s']:.2f}"]
        lines.append(f"| {' | '.join(cells)} | {row['missed']} | {row['right']:.1%} |")
    true = found["smoothing"][0]["true_changes_per_s"]
    lines.append(f"\nThe made face changes its expression {true:.2f} times a second.")
    return "\n".join(lines)


def age_table() -> str:
    """The age model on the rows to report on, by detector and by group of people, and what it costs."""
    metrics = json.loads((ROOT / "results" / "08_age" / "metrics.json").read_text())

    def line(name: str, found: dict) -> str:
        (years, *of_years), (right, *of_right) = found["mae"], found["range_accuracy"]
        cells = [f"{found['n']:,}", f"{years:.2f} ({of_years[0]:.2f} to {of_years[1]:.2f})", f"{found['bias'][0]:+.1f}"]
        return f"| {name} | {' | '.join(cells)} | {right:.1%} ({of_right[0]:.1%} to {of_right[1]:.1%}) |"

    heads = "n | mean error, years | bias | seven ranges |"
    lines = [f"| UTKFace, rows to report on | {heads}", "|---|---|---|---|---|"]
    for name, found in metrics["report"].items():
        told = f"{name}, which finds {found['found']:.1%}" if found["found"] < 1 else name
        lines.append(line(told, found))
    for kind, groups in metrics["groups"].items():
        lines += [line(f"{kind}: {name}", found) for name, found in groups.items()]
    than = {**metrics["groups"]["sex"], **metrics["groups"]["race"]}
    than = {name: found["than_its_decades"][1:] for name, found in than.items()}
    than = ", ".join(f"{name} {low:+.1f} to {high:+.1f}" for name, (low, high) in than.items())
    photograph, heads = metrics["photographs"], metrics["trunks"]
    ratios = [it["ratio"] for it in metrics["time"].values()]
    compared = ", ".join(f"{found['mae'][0]:.2f} years with `{name}`'s trunk" for name, found in heads.items())
    notes = f"""95 % intervals in brackets; decades, sexes and races with the default detector. How many years more than
        all rows of their decades they err, 95 % intervals: {than}. On the rows to choose by: {compared}.
        {photograph["several pictures"]} photographs have several pictures, whose ages lie
        {photograph["years between their ages"]:.1f} years apart in the mean. With `--age` a picture of `test_photo/`
        takes {min(ratios):.2f} to {max(ratios):.2f} times as long."""
    lines += ["", textwrap.fill(" ".join(notes.split()), 120)]
    return "\n".join(lines)


def genuine_table() -> str:
    """Genuine or posed on both sets by method, what remains on matched rows, and the other tables of smiles."""
    metrics = json.loads((ROOT / "results" / "06_genuineness_mlp" / "metrics.json").read_text())

    def line(name: str, found: dict) -> str:
        low, high = found["interval"]
        cells = [f"{found['n']:,}", f"{found['accuracy']:.1%}", f"{low:.1%} to {high:.1%}"]
        return f"| {name} | {' | '.join(cells)} | {found['mean']:.1%} ± {found['spread']:.1%} |"

    heads = "n | accuracy | 95 % interval | mean of the folds ± spread |"
    table, audit, smiles = metrics["genuemotion"], metrics["audit"], metrics["uvanemo"]
    lines = [f"| | {heads}", "|---|---|---|---|---|"]
    lines += [line(f"GenuEmotion, {name}", found) for name, found in table["methods"].items()]
    lines.append(line(f"GenuEmotion, MLP on {len(table['built in']['columns'])} units", table["built in"]))
    matched = audit["matched"]
    lines += [line(f"{matched['pairs']} matched pairs, {name}", found) for name, found in matched["methods"].items()]
    lines += [line(f"UvA-NEMO `lip_total`, {name}", found) for name, found in smiles["lip_total"].items()]
    others = {which: found for which, found in smiles.items() if which != "lip_total"}
    methods = list(next(iter(others.values())))
    lines += ["", f"| the other tables, accuracy | {' | '.join(methods)} |", "|---" * (1 + len(methods)) + "|"]
    for which, found in others.items():
        cells = [f"{found[name]['accuracy']:.1%}" for name in methods]
        lines.append(f"| `{which}` | {' | '.join(cells)} |")
    single = {name: found["greater"][0] for name, found in audit["columns"].items()}
    count = single.pop("zeros")
    most = sorted(single, key=lambda name: -abs(single[name] - 0.5))[:4]
    alone = ", ".join(f"{name.removesuffix('_r')} {single[name]:.2f}" for name in most)
    lost = sorted(audit["permuted"].items(), key=lambda pair: -pair[1][0])[:4]
    lost = ", ".join(f"{name.removesuffix('_r')} {100 * points[0]:.1f}" for name, points in lost)
    notes = f"""Matched: a posed and a genuine row at most {matched["caliper"]} standard deviations apart in
        {", ".join(name.removesuffix("_r") for name in matched["columns"])}. How often a genuine row has more of one
        unit than a posed row: {alone}; and how often it has more units that OpenFace does not see at all: {count:.2f}.
        Points of accuracy that the MLP loses when a unit is shuffled: {lost}."""
    lines += ["", textwrap.fill(" ".join(notes.split()), 120)]
    units = metrics["action_units"]
    related = {
        name: f" (r {it['r']:.2f} over {it['lettered']})" for name, it in units["units"].items() if it["r"] is not None
    }
    shares = ", ".join(f"{name} {it['f1'][0]:.2f}{related.get(name, '')}" for name, it in units["units"].items())
    (value, low, high), (large, *ends) = units["mean_f1"], units["full size"]["mean_f1"]
    notes = f"""Action units of `weights/action_units`, ten folds by subject of CK+, thresholds chosen inside the folds:
        mean F1 {value:.3f} ({low:.3f} to {high:.3f}) on {units["n"]} crops, {large:.3f} ({ends[0]:.3f} to
        {ends[1]:.3f}) on {units["full size"]["n"]} full-size apex frames. By unit: {shares}; r is that of the
        intensities, over the codes that carry one."""
    lines += ["", textwrap.fill(" ".join(notes.split()), 120)]
    ours = metrics["our units"]
    heads = "called genuine | 95 % interval | of the web | web above | neutral web above |"
    lines += ["", f"| MLP on {len(table['built in']['columns'])} of our units | {heads}", "|---" * 6 + "|"]
    for name, it in ours.items():
        low, high = it["interval"]
        cells = [f"{it['called genuine']:.1%}", f"{low:.1%} to {high:.1%}", f"{it['web called genuine']:.1%}"]
        cells += [f"{it[key]:.2f}" for key in ("web above", "neutral web above")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    counts = next(iter(ours.values()))
    notes = f"""Called genuine: of CK+'s {counts["n"]} apex frames, all posed, by units of models that have not seen the
        subject, as they are and brought to the scale of OpenFace's table in four ways, of which the spread of
        apex frames ships. Of the web: of
        {counts["web n"]:,} pictures of FER2013's PublicTest that are not neutral. Web above: how often one of these is
        given more than an apex frame, and a neutral one more than a neutral frame, where there is nothing to tell; 0.50
        is guessing."""
    lines += ["", textwrap.fill(" ".join(notes.split()), 120)]
    return "\n".join(lines)


def compare_table() -> str:
    """Every model and the peer on the same rows: accuracy, the difference to the default, calibration, time, size."""
    metrics = json.loads((ROOT / "results" / "09_compare" / "metrics.json").read_text())

    def against(than: dict | None) -> str:
        if than is None:  # the default model itself
            return ""
        less, more = (100 * end for end in than["interval"])
        return f"{100 * than['difference']:+.1f} ({less:+.1f} to {more:+.1f})"

    def line(name: str, found: dict, rows: str) -> str:
        it, (low, high) = found[rows], found[rows]["interval"]
        cells = [f"{it['accuracy']:.1%} ({low:.1%} to {high:.1%})", against(it.get("than_the_default"))]
        if rows == "fer2013":
            there = against(it.get("than_the_default_without_duplicates"))
            cells += [f"{it['accuracy_without_duplicates']:.1%}", there]
        return " | ".join([f"| {name}", *cells, f"{it['macro_f1']:.3f}", f"{it['ece']:.3f}"])

    models = sorted(metrics["models"].items(), key=lambda pair: -pair[1]["fer2013"]["accuracy"])
    heads = "accuracy | than the default | not in Training | than the default there | macro F1 | ECE | ms a face | MB"
    lines = [f"| PrivateTest | {heads} |", "|---|---|---|---|---|---|---|---|---|"]
    for name, found in models:
        numbers = f"{found['crop']['median_ms']:.1f} | {found['megabytes']:.1f}"
        lines.append(f"{line(name, found, 'fer2013')} | {numbers} |")
    lines += ["", "| FER+ rows | accuracy | than the default | macro F1 | ECE |", "|---|---|---|---|---|"]
    lines += [f"{line(name, found, 'ferplus')} |" for name, found in models]
    return "\n".join(lines)


def sequence_table() -> str:
    """CK+'s sequences by the ConvLSTM2D, phase by phase, and by our own model."""
    metrics = json.loads((ROOT / "results" / "05_convlstm_ckplus" / "metrics.json").read_text())
    lines = ["| CK+ | clips | n | accuracy | 95 % interval | macro F1 | most frequent class |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, found in metrics.items():
        if isinstance(found, dict) and "accuracy" in found:
            between = "{:.1%} to {:.1%}".format(*found["interval"]) if "interval" in found else ""
            cells = [name, found["clips"], str(found["n"]), f"{found['accuracy']:.1%}", between]
            lines.append(f"| {' | '.join(cells)} | {found['macro_f1']:.3f} | {found['most_frequent']:.1%} |")
    data, apart, need, own = (
        metrics[key] for key in ("data", "true difference against wrap", "gigabytes", "own, seven classes")
    )
    low, high = (100 * value for value in apart["interval"])
    draws = "; ".join(
        f"phase {phase} {split}: {', '.join(f'{share:.1%}' for share in found['draws'])}"
        for phase in (3, 4)
        for split in ("at random", "by subject")
        for found in [metrics[f"phase {phase}, few, {split}"]]
    )
    without = [metrics[f"phase {phase}, wrap"]["without fold 1"] for phase in (3, 4)]
    components = ", ".join(f"{share:.1%} with {count}" for count, share in own["by components"].items())
    calm, moved = own["not at rest"].values()
    sides = " to ".join(dict.fromkeys(map(str, data["sides"])))
    notes = f"""{data["n"]} labelled sequences of {data["subjects"]} subjects, {data["whole"]} of them whole; of the
        others the frames between neutral and apex are made up by optical flow. Faces of {sides} pixels were enlarged
        to 267. Without fold 1, on which epochs and rate were tried, phases 3 and 4 have {without[0]:.1%} and
        {without[1]:.1%}. True difference minus `wrap`, the same clips: {100 * apart["difference"]:+.1f} points
        ({low:+.1f} to {high:+.1f}). The three draws one by one, {draws}. A training step of phase 1 on
        {need["batch"]} clips would keep {need["267"]:.0f} GB for its gradients. Our own with other numbers of
        components: {components}. {own["as neutral"]:.1%} of the apexes are called neutral where they may be.
        {calm:.1%} of the faces at rest and {moved:.1%} of the apexes would be taken for no face at rest."""
    lines += ["", textwrap.fill(" ".join(notes.split()), 120)]
    return "\n".join(lines)


def detector_table() -> str:
    return (ROOT / "results" / "detectors.md").read_text().split("\n", 2)[2].strip()  # without its title


TABLES = {
    "model": model_table,
    "ladder": ladder_table,
    "vggface": vggface_table,
    "cnn": cnn_table,
    "classical": classical_table,
    "va": va_table,
    "age": age_table,
    "sequence": sequence_table,
    "genuine": genuine_table,
    "compare": compare_table,
    "detectors": detector_table,
    "speed": speed_table,
    "tracking": tracking_table,
    "video": video_table,
}


def rendered(text: str) -> str:
    """The README with each `<!-- name -->...<!-- /name -->` block filled."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.S)
        text, count = pattern.subn(lambda match, table=table: match[1] + table() + match[2], text)
        if count != 1:
            raise SystemExit(f"README.md has {count} blocks named {name}, not one")
    return text


def draw_pictures(folder: Path) -> None:
    """two_faces.jpg, annotated and explained; four frames of the annotated demo video side by side, and its faces."""
    from fer_lib import Recognizer, draw_faces, read_image, write_image
    from fer_lib.demo_video import make_demo_video
    from fer_lib.explain import explained_picture
    from fer_lib.plots import plot_video
    from fer_lib.video import VideoReader, annotate_video

    recognise = Recognizer(va=True)
    photos = ROOT / "test_photo"
    image = read_image(photos / "two_faces.jpg")
    faces = recognise(image)
    write_image(folder / "two_faces.jpg", draw_faces(image, faces))
    write_image(folder / "two_faces_explained.png", explained_picture(recognise, image, faces))
    with tempfile.TemporaryDirectory() as temporary:
        video = make_demo_video([photos / "astronaut.png", photos / "grace_hopper.jpg"], Path(temporary) / "demo.mp4")
        with VideoReader(video) as frames:
            shown = [(frame.image, recognise(frame.image)) for frame in frames if frame.index in (40, 100, 150, 215)]
        rows: list[dict] = []
        annotate_video(video, recognise, Path(temporary) / "demo_fer.mp4", on_rows=rows.extend, progress=False)
        plot_video(rows, folder / "over_time.png", "demo.mp4")
    if [len(faces) for _, faces in shown] != [1, 1, 0, 2]:
        raise SystemExit("the README says: a face, another, none, both; choose other frames")
    strip = np.hstack([draw_faces(image, faces) for image, faces in shown])
    write_image(folder / "video.jpg", strip)


if __name__ == "__main__":
    README.write_text(rendered(README.read_text()))
    draw_pictures(ROOT / "docs")
