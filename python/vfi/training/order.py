"""Whether a stage begins with the weights of the one before, by what the file says of itself."""

from pathlib import Path

from vfi.errors import ArgumentError
from vfi.files import checkpoints


def check_order(model: str, stage: int, path: Path | None) -> str | None:
    """A remark if the file does not say what training it is of; None: all is well.

    Args:
        model, stage: of the training that begins.
        path: its weights; None: fresh ones, of which the model says whether they will do.

    Raises:
        ArgumentError: if the file says that it is of another model, or of an earlier stage.
    """
    if path is None or stage == 1:
        return None
    wanted, told = f"weights of stage {stage - 1} of {model}", checkpoints.notes(path)
    if not {"model", "stage"} <= set(told) or not told["stage"].isdecimal():
        return f"stage {stage} begins with {wanted}; {path} does not say what it is of"
    if told["model"] != model or int(told["stage"]) < stage - 1:
        raise ArgumentError(
            f"expected {wanted} to begin stage {stage} with, got {path}, of stage {told['stage']} of {told['model']}"
        )
    return None
