"""SemFi as a diffusers pipeline: first and last frame, a text, and a number of frames in; the frames out."""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from diffusers import WanImageToVideoPipeline
from torch import Tensor

from vfi.errors import ArgumentError
from vfi.models.semfi.mixture import SemFiTransformer
from vfi.models.semfi.options import MULTIPLE
from vfi.networks.sized_inference import check_finite, check_frames
from vfi.networks.wan import clip_input
from vfi.options import converted, whole

if TYPE_CHECKING:
    from PIL.Image import Image

AREA = 480 * 832  # pixels, as SemFi was trained
STEP = 4  # frames in a latent, after the first
TOKENS = 512  # of text, always: Wan's attention tells text from image by this number


class SemFi(WanImageToVideoPipeline):
    """Frames between a first and a last frame, guided by a text.

    A pipeline of diffusers, Wan's for images to video: calls, callbacks, `save_pretrained`, `enable_model_cpu_offload`
    and so on work as they do there. Here CLIP's features of both frames are summed, and the expert for the number of
    frames acts.
    """

    def encode_image(
        self, image: "Image | Tensor | list[Image | Tensor]", device: torch.device | None = None
    ) -> Tensor:
        """CLIP's features before its last layer, (1, 257, dim); of several images their sum."""
        images = image if isinstance(image, list) else [image]
        frames = torch.cat([as_frame(one) for one in images])
        where = self._execution_device
        seen = self.image_encoder(clip_input(frames.to(where), self.image_encoder), output_hidden_states=True)
        features = seen.hidden_states[-2].unflatten(0, (len(images), -1)).sum(0)
        result: Tensor = features.to(device or where)
        return result

    @torch.no_grad()
    def __call__(
        self, *arguments: object, num_frames: int = 81, max_sequence_length: int = TOKENS, **options: object
    ) -> Any:
        """WanImageToVideoPipeline's call, with the expert for `num_frames`."""
        if max_sequence_length != TOKENS:
            raise ArgumentError(f"SemFi: expected max_sequence_length {TOKENS}, got {max_sequence_length}")
        num_frames = rounded(num_frames)
        if isinstance(self.transformer, SemFiTransformer):
            self.transformer.set_frames(num_frames)
        return super().__call__(*arguments, num_frames=num_frames, max_sequence_length=TOKENS, **options)

    def generate(
        self,
        first: Tensor,
        last: Tensor,
        prompt: str = "",
        num_frames: int = 81,
        *,
        negative_prompt: str = "",
        steps: int = 50,
        cfg: float = 5.0,
        seed: int = 0,
        generator: torch.Generator | None = None,
        size: tuple[int, int] | None = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Frames from the first to the last.

        Args:
            first, last: (1, 3, H, W) in [0, 1], RGB.
            prompt: what happens; "": interpolation.
            num_frames: N, with both ends; made the next 4 k + 1, of at least 5.
            negative_prompt: what should not be seen.
            steps: of the denoising.
            cfg: classifier-free guidance; 1: none, in half the time.
            seed, generator: of the noise; the seed counts without a generator.
            size: height and width of the result; None: about 480 x 832 pixels in the frames' proportions. Multiples of
                16.
            callback: called with the number of steps done and of all.

        Returns:
            (N, 3, height, width) float32 in [0, 1].

        Raises:
            ArgumentError: if an argument is none of the above.
        """
        check_request(first, last, prompt, negative_prompt, num_frames, steps, cfg, seed)
        height, width = size_for(first.shape[2], first.shape[3]) if size is None else sides_of(size)
        if height % MULTIPLE or width % MULTIPLE or min(height, width) < MULTIPLE:
            raise ArgumentError(f"SemFi: expected a size of multiples of {MULTIPLE}, got {height}x{width}")
        ends = [F.interpolate(f.float(), (height, width), mode="bicubic", antialias=True) for f in (first, last)]
        ends = [end.clamp(0, 1) for end in ends]

        made = self(
            image=ends[0], last_image=ends[1], prompt=prompt, negative_prompt=negative_prompt, height=height,
            width=width, num_frames=num_frames, num_inference_steps=steps, guidance_scale=cfg, output_type="pt",
            generator=generator or torch.Generator().manual_seed(seed),
            callback_on_step_end=None if callback is None else telling(callback, steps),
        )  # fmt: skip
        frames: Tensor = made.frames[0].float().clamp(0, 1)
        return frames


def telling(callback: Callable[[int, int], None], steps: int) -> Callable[..., dict[str, object]]:
    """What diffusers calls after each step."""

    def tell(pipeline: object, step: int, time: object, values: dict[str, object]) -> dict[str, object]:
        callback(step + 1, steps)
        return {}

    return tell


def check_request(
    first: Tensor, last: Tensor, prompt: str, negative_prompt: str, num_frames: int, steps: int, cfg: float, seed: int
) -> None:
    check_frames(first, last)
    check_finite(first, last)
    if len(first) != 1:
        raise ArgumentError(f"SemFi: expected one pair of frames, got {len(first)}")
    if not isinstance(prompt, str) or not isinstance(negative_prompt, str):
        got = f"{prompt!r} and {negative_prompt!r}"
        raise ArgumentError(f"SemFi: expected prompt and negative_prompt to be text, got {got}")
    scale = converted(float, cfg)
    if scale is None or not 1 <= scale < math.inf:
        raise ArgumentError(f"SemFi: expected `cfg` of 1 or more, got {cfg!r}")
    whole("steps", steps, 1)
    whole("num_frames", num_frames, 2)
    whole("seed", seed, 0, most=2**63 - 1)


def sides_of(size: Iterable[int]) -> tuple[int, int]:
    try:
        height, width = size
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"SemFi: expected a size of a height and a width, got {size!r}") from error
    return whole("size", height, 1), whole("size", width, 1)


def rounded(frames: int) -> int:
    """The next 4 k + 1, of at least 5."""
    return max((frames + 2) // STEP * STEP + 1, STEP + 1)


def size_for(height: int, width: int) -> tuple[int, int]:
    """About AREA pixels in the same proportions, both multiples of 16."""
    shape = math.sqrt(height / width)
    sides = (math.sqrt(AREA) * shape, math.sqrt(AREA) / shape)
    tall, wide = (max(round(side / MULTIPLE) * MULTIPLE, MULTIPLE) for side in sides)
    return tall, wide


def as_frame(image: "Image | Tensor") -> Tensor:
    """A picture of PIL or a tensor (1, 3, H, W) in [0, 1] -> the tensor."""
    if isinstance(image, Tensor):
        return image if image.ndim == 4 else image[None]
    import numpy as np

    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
