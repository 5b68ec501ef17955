"""`vfi evaluate` of data sets of pictures: what it keeps, prints and writes. Imports nothing heavy before it runs."""

import argparse
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vfi.commands import chosen_model, measuring
from vfi.commands.cluster import command as cluster
from vfi.commands.program import note
from vfi.data.datasets import DATASETS, fewer_than_published, scenes
from vfi.data.truth import TrueScene, same_sizes
from vfi.errors import UserError
from vfi.files.atomic import check_target, make_folder, written_whole
from vfi.models.registry import MODELS, options_of_model
from vfi.options import options_of

if TYPE_CHECKING:
    from vfi.evaluation.distances import Distances
    from vfi.evaluation.kept_rows import KeptRows
    from vfi.evaluation.outside_scores import Document, OutsideScores
    from vfi.evaluation.scoring import Score, Written

MADE_WITH = "made_with.json"
# What figures do not depend on.
_OTHER = (
    *("run", "config", "save_config", "loaded", "usual_engine", "table", "path", "json", "csv", "write_frames"),
    *("results", "resume", "scores", "plot", "device", "ray", "ray_resources"),
)
# What names files, beside options of models.
_FILES = ("weights", "lpips", "stlpips", "inception", "i3d", "flolpips_weights", "smoothness_weights", "flow_weights")


def run(options: argparse.Namespace) -> None:
    """Prints the table, and writes the files that are asked for."""
    from vfi.evaluation import distances, provenance, summaries
    from vfi.evaluation.kept_rows import KeptRows

    if cluster.is_asked(options):
        cluster.refuse(options, "device")
    check_files(options)
    known = scenes(options.dataset, options.path, options.split, options.frames)
    measuring.check(options, known)
    same_sizes(known)
    for sentence in fewer_than_published(options.dataset, known):
        note(sentence)
    names, features = measuring.names_of(options), distances.Distances(measuring.distances_of(options), options.results)
    settings = {**settings_of(options), "data": provenance.data(options.path, known), "measures": list(names)}
    with closing(
        KeptRows(options.results, settings, frozenset((*names, "seconds")), resume=bool(options.resume))
    ) as kept:
        if options.write_frames is not None:
            claim(options.write_frames, settings)
        outside = outside_scores(options, settings)
        numbers = range(len(known))
        todo = [
            number for number in numbers
            if number not in kept.rows or not has_frames(options, known, number) or features.lacks(number)
        ]  # fmt: skip
        found = summaries.show(known, kept_or_found(known, kept, todo, _scores(options, known, todo), features), names)
    for name, of_splits in features.found().items():
        for split, distance in of_splits.items():
            none = f"not measured, of fewer than 2 {distances.COUNTED[name]}"
            figure = none if distance is None else f"{distance:.{distances.DIGITS[name]}f}"
            print(f"{f'{name.upper()} {split}'.rstrip()}: {figure}")
    write(options, report(options, known, found, settings, features.found()), ("split", *names, "seconds"), outside)


def _scores(options: argparse.Namespace, known: Sequence[TrueScene], todo: Sequence[int]) -> "Iterator[Score]":
    from vfi.evaluation import scoring

    if not todo:
        return
    if options.ray is not None:
        from vfi.commands.cluster import scenes as on_nodes

        yield from on_nodes.scores(options, todo)
        return
    model, device = chosen_model.load(options)
    by = measuring.load(options, device)
    written = writer(options, known)
    yield from scoring.scores(model, known, todo, by.frames, device, written, by.scenes, by.features)


def kept_or_found(
    known: Sequence[TrueScene], kept: "KeptRows", todo: Iterable[int], found: "Iterator[Score]", features: "Distances"
) -> "Iterator[Score]":
    """The score of each scene; what is found is kept. A scene that was done again, for its frames, keeps its score."""
    from vfi.evaluation.scoring import Score

    waiting = set(todo)
    for number, scene in enumerate(known):
        if number in waiting:
            score = next(found)
            features.keep(number, score.features)
            if number not in kept.rows:
                kept.add(number, with_seconds(score))
        features.add(number, scene.split)
        values = {name: value for name, value in kept.rows[number].items() if value is not None}
        yield Score(scene.name, values, values.pop("seconds"))
    next(found, None)  # lets go of what it holds


def with_seconds(score: "Score") -> dict[str, float]:
    return {**score.values, "seconds": score.seconds}


def settings_of(options: argparse.Namespace) -> dict[str, object]:
    """What figures depend on, but the data set; files and folders by what is in them."""
    from vfi.evaluation import provenance
    from vfi.video.segments import fingerprint

    known = options_of(options_of_model(options.model)) if options.model in MODELS else ()
    files = {*_FILES, *(each.name for each in known if each.kind is Path)}

    def told(name: str, value: object) -> object:
        if isinstance(value, (list, tuple)):
            return [told(name, each) for each in value]
        if name in files and Path(str(value)).exists():
            return fingerprint(Path(str(value)))[:16]
        return value if isinstance(value, (int, float)) else str(value)

    given = {name: value for name, value in sorted(vars(options).items()) if name not in _OTHER and value is not None}
    return {
        **{name: told(name, value) for name, value in given.items()},
        **_release(options),
        "code": provenance.code(),
    }


def _release(options: argparse.Namespace) -> dict[str, object]:
    """Of RIFE's family, which has many by one name: what the file of weights is."""
    from vfi.files import checkpoints
    from vfi.models import recognition

    path = Path(options.weights or "")
    if options.model not in ("rife", "sg-rife") or not path.is_file():
        return {}
    with suppress(UserError):  # which is told where the model is loaded
        state = checkpoints.read(path)
        kind = recognition.kind_of(state)
        four = kind is not None and kind.called == "RIFE 4"
        names = recognition.releases_of(state) if four else (() if kind is None else (kind.called,))
        return {"weights_of": " or ".join(names)} if names else {}
    return {}


def check_files(options: argparse.Namespace, inputs: tuple[Path, ...] = ()) -> None:
    """Refuses what cannot be written, before any work is done."""
    from vfi.evaluation import plots

    if options.plot is not None:
        plots.check_name(options.plot)
    for path in (options.json, options.csv, options.plot):
        if path is not None:
            check_target(path, overwrite=True, inputs=inputs)
    if options.json is not None and options.json == options.csv:
        raise UserError(f"expected two files for --json and --csv, got {options.json} twice")


def claim(folder: Path, settings: Mapping[str, object]) -> None:
    """Makes a folder for frames of these settings alone.

    Raises:
        UserError: if it holds others.
    """
    from vfi.evaluation.kept_rows import different

    make_folder(folder)
    path = folder / MADE_WITH
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"cannot read {path}, which says what the frames beside it are of") from error
        asked = json.loads(json.dumps(settings))
        if before != asked:
            other = different(before if isinstance(before, dict) else {}, asked)
            raise UserError(f"the frames in {folder} are of {other}: take another folder")
    elif any(folder.iterdir()):
        raise UserError(f"{folder} holds other files: take another folder for --write-frames")
    _write_text(path, json.dumps(settings, indent=1) + "\n")


def file_of(options: argparse.Namespace, known: Sequence[TrueScene], number: int) -> Path:
    """Of the frames of a scene."""
    from vfi.evaluation.written_frames import frame_file

    scene = known[number]
    return frame_file(options.write_frames, scene.split, number, scene.name, len(scene.paths) > 3)


def has_frames(options: argparse.Namespace, known: Sequence[TrueScene], number: int) -> bool:
    """Whether nothing is asked for that is not there."""
    return options.write_frames is None or file_of(options, known, number).is_file()


def writer(options: argparse.Namespace, known: Sequence[TrueScene]) -> "Written | None":
    """Writes the frames of a scene, if that is asked for."""
    from vfi.evaluation.written_frames import write_frames

    if options.write_frames is None:
        return None
    return lambda number, frames: write_frames(file_of(options, known, number), frames)


def report(
    options: argparse.Namespace,
    known: Sequence[TrueScene],
    found: "Sequence[Score]",
    settings: Mapping[str, object],
    distances: Mapping[str, Mapping[str, float | None]],
) -> dict[str, object]:
    """As `--json` has it."""
    from vfi.evaluation.kept_rows import told
    from vfi.evaluation.summaries import summaries

    published = DATASETS[options.dataset].published
    rows: list[dict[str, object]] = []
    for number, (scene, score) in enumerate(zip(known, found, strict=True)):
        row: dict[str, object] = {"name": scene.name, "split": scene.split, **told(with_seconds(score))}
        if options.write_frames is not None:
            row["file"] = file_of(options, known, number).relative_to(options.write_frames).as_posix()
        rows.append(row)
    of_splits: dict[str, object] = {}
    for split, found_there in summaries(known, found).items():
        parts = [{"scenes": part.scenes, **told(part.as_numbers())} for part in found_there.by_motion]
        of_splits[split] = {
            **{"scenes": found_there.scenes, "published": published.get(split), **told(found_there.as_numbers())},
            **{name: each[split] for name, each in distances.items()},
            **{"bounds_95": found_there.bounds, **({"by_motion": parts} if parts else {})},
        }
    return {
        "dataset": options.dataset, "model": options.model, "settings": dict(settings), "means": of_splits,
        "scenes": rows,
    }  # fmt: skip


def outside_scores(options: argparse.Namespace, settings: Mapping[str, object]) -> "list[OutsideScores]":
    """What other tools have found of the frames of these settings, if that is given."""
    from vfi.evaluation import outside_scores
    from vfi.evaluation.kept_rows import different

    if options.scores is not None and options.write_frames is None:
        raise UserError("--scores needs --write-frames, the folder of the frames that are scored")
    found = list(map(outside_scores.read, options.scores or ()))
    for each in found:
        if not each.is_of(settings):
            raise UserError(f"the scores in {each.path} are of other frames: of {different(each.made_with, settings)}")
    return found


def write(
    options: argparse.Namespace, result: "Document", columns: Sequence[str], outside: "Sequence[OutsideScores]"
) -> None:
    """The files that are asked for. columns: of the list, after the names of the scenes."""
    from vfi.evaluation import outside_scores, plots

    for scores in outside:
        outside_scores.check_frames(scores, options.write_frames)
        result = outside_scores.merged(result, scores, str(options.write_frames))
        for name in scores.values:
            columns = (*columns, *(() if name in columns else (name,)))
            for part, value in outside_scores.means(result, name).items():
                print(f"{f'{name} {part}'.rstrip()}: {value:.4f}, by {scores.tool}")
    if options.json is not None:
        _write_text(options.json, json.dumps(result, indent=1, allow_nan=False) + "\n")
    if options.plot is not None:
        plots.write(options.plot, plots.of_results(result))
    if options.csv is not None:
        rows = result["scenes"]
        assert isinstance(rows, list)
        table = io.StringIO(newline="")
        lines = csv.DictWriter(table, ["name", *columns], extrasaction="ignore", lineterminator="\n")
        lines.writeheader()
        lines.writerows(rows)
        _write_text(options.csv, table.getvalue())


def _write_text(path: Path, text: str) -> None:
    with written_whole(path, lasting=True) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
