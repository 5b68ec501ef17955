"""A step in parts: as many samples as fit into memory go through the network at a time, their gradients add up."""

from collections.abc import Iterable, Iterator

from torch.utils.data import Sampler


class Parts(Sampler[list[object]]):
    """Each batch of `batches` in `count` equal parts, one after the other."""

    def __init__(self, batches: Iterable[list[object]], count: int) -> None:
        self.batches, self.count = batches, count

    def __iter__(self) -> Iterator[list[object]]:
        for batch in self.batches:
            size = len(batch) // self.count
            for part in range(self.count):
                yield batch[part * size : (part + 1) * size]
