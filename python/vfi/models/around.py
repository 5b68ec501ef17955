"""A model inside another one, which changes how it is run."""

from torch import Tensor

from vfi.models.interpolator import Explanation, Interpolator


class Around(Interpolator):
    """What is not changed is as `model` has it; a subclass says how frames are made."""

    def __init__(self, model: Interpolator) -> None:
        self.model = model
        self.channel_order, self.shows_route, self.notices = model.channel_order, model.shows_route, model.notices
        self.any_time, self.tile, self.works_in_tiles = model.any_time, model.tile, model.works_in_tiles

    @property
    def called(self) -> str:
        return self.model.called

    def explain(self, frame0: Tensor, frame1: Tensor, t: float) -> Explanation | None:
        """Of the whole pictures, by the model in float32."""
        return self.model.explain(frame0, frame1, t)

    def whole_frames(self, count: int) -> int:
        return self.model.whole_frames(count)
