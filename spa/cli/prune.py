"""``spa prune``: a model in, a smaller one out, proven; and fine-tuned where that is asked for."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

import spa
from spa.cli import obspa
from spa.cli.finetuning import (
    add_finetuning,
    finetune_document,
    finetune_lines,
    tuning_of,
)
from spa.cli.limits import add_limits, limits_of
from spa.cli.options import (
    add_code,
    add_framework,
    add_json,
    add_model,
    add_trust,
    parse_inputs,
    read_data,
    read_labelled,
)
from spa.cli.outputs import MODEL, check_ending, check_outputs
from spa.cli.scoring import criterion_of, scored_line
from spa.cli.targets import add_targets, machine_of, target_of
from spa.coupling.couple import ATTENTION
from spa.errors import SettingError
from spa.frameworks import Framework, framework, framework_of, is_builder
from spa.graph.write import write_model
from spa.importance.aggregate import AGGREGATES, NORMALIZATIONS
from spa.importance.criterion import Criterion, names
from spa.importance.from_file import is_file
from spa.importance.options import read
from spa.observe.data import Given
from spa.observe.losses import LOSSES
from spa.obspa.calibration import SOURCES
from spa.progress import stage
from spa.pruning.widths import HEAD, Width, moved_line, widths
from spa.showing import all_shown, as_text
from spa.training.labelled import check_data

NEXT = (
    "next: train what is left (--finetune DATA.npz), or prune with refitted weights and without "
    "data (--method obspa)"
)


def register(commands: Any) -> None:
    """Adds the sub-command."""
    parser = commands.add_parser("prune", help="remove channels and write the smaller model")
    add_model(parser, text="the ONNX file, or a framework's model (see spa export --help)")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT.onnx",
        help="where the smaller model goes: as ONNX, or in the format of the framework's own model "
        "that came in (OUT.keras, OUT-symbol.json, OUT.npz)",
    )
    parser.add_argument(
        "--criterion",
        help=f"l1, or one of {', '.join(names())}; or FILE.py:NAME, a function in a file of your "
        "own, which is run",
    )
    add_targets(parser)
    add_limits(parser)
    whole: dict[str, Any] = {"type": int, "metavar": "N"}
    for name, settings, text in (
        ("--aggregate", {"choices": sorted(AGGREGATES)}, "how slices of a channel are folded"),
        ("--normalize", {"choices": sorted(NORMALIZATIONS)}, "how groups are made comparable"),
        ("--attention", {"choices": ATTENTION, "default": "heads"}, "what attention loses"),
        ("--steps", {**whole, "default": 1}, "rounds, scored anew in each"),
        (
            "--data",
            {"metavar": "DATA.npz"},
            "what criteria with gradients or activations look at: arrays x (or by input name) and "
            "y; or noise, uniform",
        ),
        ("--loss", {"choices": sorted(LOSSES)}, "what gradients are of"),
        (
            "--option",
            {"action": "append", "default": [], "metavar": "NAME=VALUE"},
            "of the criterion; repeatable",
        ),
        ("--seed", {"type": int, "default": 0}, "for whatever is drawn"),
        ("--plan", {"metavar": "plan.json"}, "write the plan there too"),
    ):
        parser.add_argument(name, help=text, **settings)
    parser.add_argument(
        "--best-effort",
        action="store_true",
        help="write the nearest reachable model where the target is out of reach",
    )
    parser.add_argument(
        "--keep-class",
        action="store_true",
        help="take the same of all equal parts that a tensor is split into, so that the class of "
        "a torch module can follow the plan (spa.modules.rebuild)",
    )
    parser.add_argument("--no-verify", action="store_true", help="skip the proof")
    obspa.add_obspa(parser)
    add_finetuning(parser)
    add_framework(parser)
    add_code(parser)
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Returns the result as JSON-ready values and as text."""
    # All that can be refused is refused before the work.
    obspa.check_method(args)
    settings = obspa.settings_of(args) if args.method == "obspa" else None
    if settings is None and args.criterion is None:
        args.criterion = "l1"
    options = read(args.option, "--option")
    criterion = criterion_of("l1" if args.criterion is None else args.criterion)
    criterion.how(options)
    target, machine = target_of(args), machine_of(args)
    limits = limits_of(args)
    tuning = tuning_of(args)
    check_outputs(
        {"--output": args.output, "--plan": args.plan},
        {
            MODEL: args.model,
            "--data": args.data,
            "--finetune": args.finetune,
            "--calibration": None if args.calibration in SOURCES else args.calibration,
            "--criterion": (args.criterion or "").rpartition(":")[0],
            **{f"--code {code}": code for code in args.code},
        },
    )
    shapes, data = parse_inputs(args.input), read_data("--data", args.data)
    samples = read_labelled("--finetune", args.finetune)
    theirs = _framework(args)
    _check_ending(args.model, args.output, theirs)
    # A framework's own inputs go by their place, and without the batch.
    sizes = [shape[1:] for shape in shapes.values()] or None
    with stage(f"Loading {args.model}"):
        source = args.model if theirs is None else theirs.export(args.model, sizes)
        model = spa.load(source, shapes if theirs is None else None)
    if samples is not None:
        check_data(model, *samples)
    if settings is not None:
        calibration = obspa.read_calibration(args.calibration, settings.samples, model)
        result = obspa.prune(args, model, settings, calibration, target, limits)
        args.criterion = result.plan.criterion
    else:
        result = _pruned(args, model, target, machine, limits, criterion, options, data)
    back = theirs if theirs is not None and args.output.endswith(theirs.suffix) else None
    tuned = None
    if samples is not None:
        if back is not None:  # what cannot come back should say so before hours of training
            assert isinstance(source, onnx.ModelProto)
            with tempfile.TemporaryDirectory(prefix="spa-trial-") as folder:
                trial = Path(folder) / f"trial{back.suffix}"
                back.give_back(Path(args.model), trial, source, result, sizes)
        tuned = spa.finetune(result, *samples, tuning, dense=model, seed=args.seed)
        result = tuned.pruned
    beside = {args.plan: result.plan.to_json()} if args.plan else {}
    if back is not None:
        assert isinstance(source, onnx.ModelProto)
        back.give_back(Path(args.model), Path(args.output), source, result, sizes, documents=beside)
    else:
        write_model(args.output, result.model, beside or None)
    document = {**_document(args, result), "finetune": finetune_document(tuned)}
    proof = "" if result.proof is None else result.proof.text()
    return document, _text(all_shown(document), proof, bool(args.input))


def _pruned(
    args: argparse.Namespace,
    model: spa.Model,
    target: spa.Target,
    machine: Any,
    limits: spa.Limits,
    criterion: Criterion,
    options: dict[str, Any],
    data: Given | None,
) -> spa.Pruned:
    """Prunes and leaves all other weights alone."""
    with stage(f"Pruning by {args.criterion}"):
        return spa.prune(
            model,
            # A registered one by its name, so that it gets data only where it looks at some.
            criterion=criterion if is_file(args.criterion) else criterion.name,
            target=target,
            machine=machine,
            limits=limits,
            aggregate=args.aggregate,
            normalize=args.normalize,
            attention=args.attention,
            keep_class=args.keep_class,
            steps=args.steps,
            options=options,
            data=data,
            loss=args.loss,
            seed=args.seed,
            best_effort=args.best_effort,
            verify=not args.no_verify,
        )


def _framework(args: argparse.Namespace) -> Framework | None:
    """The framework of a model that is no ONNX file.

    Raises:
        SettingError: the output is in another framework's format, or in one that cannot be made;
            or it is an ONNX file after all.
    """
    model, output, named = args.model, args.output, args.framework
    if Path(model).suffix == ".onnx":
        if named is not None:
            raise SettingError(f"{model} is an ONNX file; leave --framework {named} out.")
        return None
    name, wanted = named or framework_of(model), framework_of(output)
    if wanted is not None and wanted != name:
        raise SettingError(
            f"--output {output} is a file of {wanted}, but {model} is "
            f"{'none of its models' if name is None else f'of {name}'}; write OUT.onnx."
        )
    is_code = is_builder(model)
    if wanted is not None and (is_code or Path(model).is_dir()):
        raise SettingError(
            f"--output {output} cannot be made of {model}, which "
            f"{'is code' if is_code else 'has no layers, as a saved model'}; write OUT.onnx."
        )
    return None if name is None else framework(name, args.code, args.trust)


def _check_ending(model: str, output: str, theirs: Framework | None) -> None:
    """Refuses an output whose ending says another format than is written.

    Raises:
        OutputError: naming the endings that are possible.
    """
    back = theirs is not None and not is_builder(model) and not Path(model).is_dir()
    own = [theirs.suffix] if theirs is not None and back and theirs.gives_back else []
    of = "an ONNX file" if theirs is None else f"{model}"
    check_ending("--output", output, [".onnx", *own], of)


def _document(args: argparse.Namespace, result: spa.Pruned) -> dict[str, Any]:
    proof = result.proof
    return {
        "model": args.model,
        "output": args.output,
        "criterion": args.criterion,
        "data": args.data,
        "scoring": dict(result.plan.settings.get("scoring", {})),
        "asked": dict(result.plan.target),
        "latency": result.plan.settings.get("latency"),
        "reached": dict(result.plan.reached),
        "params": {"dense": result.dense.params, "pruned": result.pruned.params},
        "macs": {"dense": result.dense.macs, "pruned": result.pruned.macs},
        "channels": {
            "prunable": sum(g.channels for g in result.plan.groups),
            "removed": sum(len(g.removed) for g in result.plan.groups),
        },
        "widths": [asdict(width) for width in widths(result.plan, result.model)],
        "moved": result.moved,
        "exact": result.plan.exact,
        "proof": None if proof is None else proof.to_json(),
        "method": {"name": args.method, **(result.details or {})},
        "notes": list(result.plan.notes),
        "seconds": round(result.seconds, 3),
    }


def _text(document: dict[str, Any], proof_text: str, given: bool) -> str:
    asked = ", ".join(f"{name} {value:g}" for name, value in document["asked"].items())
    reached = ", ".join(f"{name} {value:.3f}" for name, value in document["reached"].items())
    channels = document["channels"]
    lines = [
        f"asked {asked}; reached {reached}",
        f"parameters {document['params']['dense']:,} -> {document['params']['pruned']:,}, "
        f"MACs {document['macs']['dense']:,} -> {document['macs']['pruned']:,}, "
        f"{channels['removed']:,} of {channels['prunable']:,} channels removed",
        scored_line(document["criterion"], document["scoring"], document["data"]),
        *([obspa.line(document["method"])] if document["method"]["name"] == "obspa" else []),
        *(f"note: {note}" for note in document["notes"]),
    ]
    if document["proof"] is None:
        lines.append("not verified (--no-verify)")
    else:
        lines.append(proof_text)
    tuned = document["finetune"]
    if tuned is not None:
        lines += finetune_lines(tuned)
    rows = [Width(w["name"], tuple(w["dense"]), tuple(w["pruned"])).row for w in document["widths"]]
    lines += [as_text([HEAD, *rows])] if rows else []
    if document["moved"] is not None:
        lines.append(moved_line(document["moved"], given))
    if tuned is None and rows and document["method"]["name"] == "spa":
        lines.append(NEXT)
    lines.append(f"wrote {document['output']}")
    return "\n".join(lines)
