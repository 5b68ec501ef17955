"""Folders of diffusers' pipelines, and how loudly their libraries speak."""

import json
from pathlib import Path

import diffusers
import transformers

from vfi_models.errors import UserError

INDEX = "model_index.json"


def held_by(folder: Path, wanted: str) -> None:
    """Says so if a folder holds another pipeline than `wanted`.

    Raises:
        UserError: if it does, or has no index that can be read.
    """
    if not (folder / INDEX).is_file():
        raise UserError(f"expected a folder with {INDEX}, as {wanted}.save_pretrained writes it, got {folder}")
    try:
        name = json.loads((folder / INDEX).read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} cannot be read as {wanted}: its {INDEX} is damaged") from error
    if name != wanted:
        raise UserError(f"{folder} holds {name}, not {wanted}")


def quieted() -> None:
    """Neither bars while parts are loaded nor notes on what is not asked for."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
