"""Pretrained language models, without 20 % of their heads and of their MLPs' width, untuned.

    python -m experiments.bench.language

MiniLM's embeddings of movie sentences and SmolLM2's perplexity on editorials, pruned beside dense.
Heads are ranked over all layers, and every MLP shrinks alike; the width of the residual stream
stays. OBSPA is calibrated on other text of the same kind, on text that the model writes itself
(SmolLM2), or on random tokens, and is shown as it chooses and with its parts left out. Every trial
has a process of its own, and rows that are there already are not made again. Needs the extra
``bench``, 8 GiB of memory and about an hour.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import spa
from experiments.bench import agreement, carried_transformers, texts
from experiments.bench.agreement import Array
from experiments.ground import packages
from spa.graph.execute import session

RATIO = 0.2
SEED = 0  # of the order of sentences and articles
HELD_OUT, TRAINING, LONGEST = 1000, 2000, 64  # sentences of movies, tokens of each
WINDOWS, WINDOW = 24, 256  # windows of editorials, tokens of each
COLUMNS = (
    "network", "method", "part", "seed", "heads", "mlp", "params", "macs", "rp", "rf", "exact",
    "difference", "seconds", "peak_mib", "cosine", "cosine_low", "pearson", "spearman",
    "probe_accuracy", "perplexity", "accuracy", "agreement", "reason",
)  # fmt: skip
KEY = ("network", "method", "part", "seed")
Row = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A network to prune.

    Attributes:
        export: makes its dense ONNX file.
        parts: by name of a part, globs of what is in it.
        residual: globs of what only the residual stream's group has.
        measure: compares a network with the dense one; the path is of what the dense run keeps.
        inputs: makes OBSPA's inputs.
    """

    export: Callable[[], onnx.ModelProto]
    parts: Mapping[str, tuple[str, ...]]
    residual: tuple[str, ...]
    measure: Callable[[onnx.ModelProto, Path], Row]
    inputs: Callable[[], dict[str, Array]]


# --- MiniLM ---------------------------------------------------------------------------------------


def _movies() -> list[texts.Sentence]:
    found = [s for s in texts.sentences(texts.MOVIES) if abs(s.rating) >= 0.5]
    return [found[i] for i in np.random.default_rng(SEED).permutation(len(found))]


def _measure_minilm(proto: onnx.ModelProto, dense: Path) -> Row:
    chosen = _movies()[: HELD_OUT + TRAINING]
    tokenizer, runner = carried_transformers.minilm_tokenizer(), session(proto)
    # Sentences of like length together, so that little is padded.
    order = np.argsort([len(sentence.text) for sentence in chosen], kind="stable")
    vectors = np.empty((len(chosen), 384), dtype=np.float32)
    for batch in np.split(order, len(order) // 50):
        tokens = tokenizer(
            [chosen[i].text for i in batch],
            padding=True, truncation=True, max_length=LONGEST, return_tensors="np",
        )  # fmt: skip
        feeds = {"ids": tokens["input_ids"], "mask": tokens["attention_mask"]}
        (hidden,) = runner.run(None, feeds)
        vectors[batch] = agreement.mean_pooled(hidden, feeds["mask"])
    if not dense.exists():
        np.save(dense, vectors)
    labels = np.array([sentence.rating > 0 for sentence in chosen])
    held, rest = slice(HELD_OUT), slice(HELD_OUT, None)
    return {
        **agreement.embedding_agreement(np.load(dense)[held], vectors[held]),
        **agreement.probe_accuracy(vectors[rest], labels[rest], vectors[held], labels[held]),
    }


def _minilm_inputs() -> dict[str, Array]:
    """Other movie sentences of 32 tokens or more, cut to 32, so that nothing is padded."""
    tokenizer = carried_transformers.minilm_tokenizer()
    rest = [sentence.text for sentence in _movies()[HELD_OUT + TRAINING :]]
    long = [ids for ids in tokenizer(rest)["input_ids"] if len(ids) >= 32][:384]
    ids = np.array([[*row[:31], row[-1]] for row in long])
    return {"ids": ids, "mask": np.ones_like(ids)}


# --- SmolLM2 --------------------------------------------------------------------------------------


def _windows(width: int, first: int, count: int) -> Array:
    """Tokens of editorials, cut from one run of them; (count, width)."""
    articles = texts.articles(texts.sentences(texts.EDITORIALS))
    order = np.random.default_rng(SEED).permutation(len(articles))
    text = "\n\n".join(articles[i] for i in order)
    tokens = np.array(carried_transformers.smollm2_tokenizer()(text)["input_ids"])
    return tokens[first : first + count * width].reshape(count, width)


def _measure_smollm2(proto: onnx.ModelProto, dense: Path) -> Row:
    windows, runner = _windows(WINDOW, 0, WINDOWS), session(proto)
    counted = agreement.NextTokens(np.load(dense) if dense.exists() else None)
    for ids in np.split(windows, WINDOWS // 2):
        (logits,) = runner.run(None, {"ids": ids, "mask": np.ones_like(ids)})
        counted.add(logits, ids)
    if not dense.exists():
        np.save(dense, counted.chosen)
    return counted.result()


def _smollm2_inputs() -> dict[str, Array]:
    """Later windows, 2048 tokens behind the last that is measured."""
    ids = _windows(WINDOW, WINDOW * WINDOWS + 2048, 32)
    return {"ids": ids, "mask": np.ones_like(ids)}


# --- trials ---------------------------------------------------------------------------------------

SUBJECTS = {
    "minilm": Subject(
        carried_transformers.minilm,
        {"heads": ("*.attention.self.query.bias",), "mlp": ("*.intermediate.dense.bias",)},
        (),  # it is the output, so it stays by itself
        _measure_minilm,
        _minilm_inputs,
    ),
    "smollm2": Subject(
        carried_transformers.smollm2,
        {"heads": ("*.self_attn.*",), "mlp": ("*.mlp.*",)},
        ("*norm.weight",),
        _measure_smollm2,
        _smollm2_inputs,
    ),
}
# Ways of OBSPA by the name of a method: other settings, and what it is calibrated on.
OBSPA: dict[str, tuple[str, Row]] = {
    "obspa": ("text", {}),
    "obspa (self)": ("self", {"samples": 128}),
    "obspa (noise)": ("noise", {"samples": 128}),
    "obspa, no refit": ("text", {"refit": False}),
    "l1 refitted": ("text", {"selection": "l1"}),
    "random refitted": ("text", {"selection": "random"}),
    "wanda refitted": ("text", {"selection": "wanda"}),
    "obspa, own targets": ("text", {"target_outputs": "own"}),
    # MLPs lose by their variances, standardised in each; those with a few large ones are spared.
    "obspa, shares": (
        "text",
        {"scope": "global", "shares": "variance", "shares_normalize": "gaussian"},
    ),
    "obspa, 1 %": ("text", {"damping": 0.01}),
}
# Networks that write no text.
NO_WRITERS = ("minilm",)
# Method, part and seed of every trial; the dense one first.
TRIALS = (
    ("dense", "", 0),
    ("l1", "both", 0),
    ("obspa", "both", 0),
    ("random", "both", 0),
    ("random", "both", 1),
    ("l1", "heads", 0),
    ("l1", "mlp", 0),
    ("obspa", "heads", 0),
    ("obspa", "mlp", 0),
    *((name, "both", 0) for name in OBSPA if name != "obspa"),
)


def prune(subject: Subject, proto: onnx.ModelProto, method: str, part: str, seed: int) -> Row:
    """Prunes one part after the other; what came of it, and the smaller network as ``model``."""
    row: Row = {"exact": True, "difference": 0.0, "seconds": 0.0}
    kind, changes = OBSPA.get(method, ("", {}))
    changes = dict(changes)
    scope = changes.pop("scope", "local")  # of MLPs
    calibration: Any = subject.inputs() if kind == "text" else kind
    for name in subject.parts if part == "both" else (part,):
        limits = spa.Limits(
            scope="global" if name == "heads" else scope,
            include=subject.parts[name],
            exclude=subject.residual,
        )
        model = spa.load(proto, {"ids": (2, LONGEST), "mask": (2, LONGEST)})
        options: Row = {"ratio": RATIO, "limits": limits, "seed": seed, "verify": False}
        started = time.perf_counter()
        if method in OBSPA:
            from spa.obspa import prune as prune_and_refit

            if kind == "text":
                options["samples"] = len(calibration["ids"])
            result = prune_and_refit(model, calibration=calibration, **options, **changes)
        else:
            result = spa.prune(model, criterion=method, **options)
        prove(row, model, result)
        row["seconds"] += time.perf_counter() - started
        row[name] = removed_share(result.plan, subject.parts[name], subject.residual)
        proto = result.model
    return {**row, "model": proto}


def prove(row: Row, model: spa.Model, result: spa.Pruned) -> None:
    """Notes what the proof says; where it fails, the network is measured all the same."""
    if result.reconstructed is not None:
        model = model.with_weights(result.reconstructed)
    try:
        proof = spa.verify(model, result.model, result.plan)
    except spa.VerificationError as error:
        row["exact"], row["difference"] = False, float("nan")
        row["reason"] = str(error).partition(". ")[0]
        return
    row["exact"] &= proof.equal
    row["difference"] = max(row["difference"], proof.difference)


def removed_share(plan: spa.Plan, include: Sequence[str], exclude: Sequence[str]) -> str:
    """How many channels went, of how many, in the groups that globs choose: ``14/72``."""

    def matches(group: Any, globs: Sequence[str]) -> bool:
        return any(fnmatchcase(name, glob) for name, _ in group.members for glob in globs)

    chosen = [g for g in plan.groups if matches(g, include) and not matches(g, exclude)]
    return f"{sum(len(g.removed) for g in chosen)}/{sum(g.channels for g in chosen)}"


def trial(network: str, method: str, part: str, seed: int) -> Row:
    """Prunes and measures one network; in a process of its own, as memory is measured."""
    subject, work = SUBJECTS[network], packages.cache() / "language"
    dense = onnx.load(work / f"{network}.onnx")
    row: Row = dict(zip(KEY, (network, method, part, seed), strict=True))
    model = dense
    if method != "dense":
        row.update(prune(subject, dense, method, part, seed))
        model = row.pop("model")
    row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    shapes = {"ids": (2, LONGEST), "mask": (2, LONGEST)}
    old, new = (spa.measure_cost(spa.load(p, shapes)) for p in (dense, model))
    row.update(params=new.params, macs=new.macs, rp=old.params / new.params, rf=old.macs / new.macs)
    kept = work / f"{network}_dense.npy"
    if method == "dense":
        kept.unlink(missing_ok=True)
    del dense
    return {**row, **subject.measure(model, kept)}


def save_dense(network: str) -> None:
    """Writes a dense network's ONNX file into the cache, where it is not there yet."""
    path = packages.cache() / "language" / f"{network}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        onnx.save(SUBJECTS[network].export(), beside)
        beside.rename(path)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


# --- tables ---------------------------------------------------------------------------------------


def read(path: Path) -> list[Row]:
    """Rows so far; all values are text."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(rows: Sequence[Row], path: Path) -> None:
    """Writes all rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def markdown(rows: Sequence[Row]) -> str:
    """One table per network, with the columns that its rows have."""
    return "\n\n".join(
        "\n".join(_table([row for row in rows if row["network"] == network]))
        for network in dict.fromkeys(row["network"] for row in rows)
    )


def _table(rows: Sequence[Row]) -> Iterator[str]:
    columns = [c for c in COLUMNS if any(str(row.get(c, "")) for row in rows)]
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(str(row.get(c, '')) for c in columns)} |"


def rounded(row: Row) -> Row:
    """Floats with four significant digits, or four behind the point."""
    return {k: _short(v) if isinstance(v, float) else v for k, v in row.items()}


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 0.1 or abs(value) >= 1000 else f"{value:.4f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--results", type=Path, default=Path("results/bench"))
    args = parser.parse_args(arguments)
    path = args.results / "language.csv"
    rows = read(path)
    done = {tuple(str(row[k]) for k in KEY) for row in rows}
    for network in args.networks:
        missing = [
            t for t in TRIALS
            if tuple(map(str, (network, *t))) not in done
            and not (network in NO_WRITERS and OBSPA.get(t[0], ("",))[0] == "self")
        ]  # fmt: skip
        if missing:
            in_own_process(save_dense, network)
        for which in missing:
            row = rounded(in_own_process(trial, network, *which))
            print({k: v for k, v in row.items() if v != ""}, file=sys.stderr)
            rows.append(row)
            write(rows, path)
    print(markdown(rows))


if __name__ == "__main__":
    main()
