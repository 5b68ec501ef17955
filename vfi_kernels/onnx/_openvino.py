"""What OpenVINO lacks to read our files: a rule for DeformConv."""

from typing import TYPE_CHECKING

from vfi_kernels._types import Foreign

if TYPE_CHECKING:
    from openvino.frontend.onnx import ConversionExtension


def openvino_extension() -> "ConversionExtension":
    """For `openvino.Core().add_extension`, before `read_model`: DeformConv as OpenVINO's own DeformableConvolution.

    Raises:
        ImportError: if openvino is not installed.
    """
    from openvino.frontend.onnx import ConversionExtension

    return ConversionExtension("DeformConv", deformed)


def deformed(node: Foreign) -> list[Foreign]:
    """x, weight, offset, and maybe bias and mask."""
    from openvino import opset8, opset13

    x, weight, offset, *more = (node.get_input(i) for i in range(node.get_input_size()))
    bias, mask = (*(None if i.get_node().get_type_name() == "NullNode" else i for i in more), None, None)[:2]

    def attribute(name: str, usual: Foreign) -> Foreign:
        return node.get_attribute(name) if node.has_attribute(name) else usual

    pads = attribute("pads", [0] * 4)
    group, offset_group = attribute("group", 1), attribute("offset_group", 1)
    out = opset8.deformable_convolution(
        x, offset, weight, attribute("strides", [1, 1]), pads[:2], pads[2:], attribute("dilations", [1, 1]), mask,
        "EXPLICIT", group, offset_group, True,
    )  # fmt: skip
    if bias is not None:
        out = opset13.add(out, opset13.reshape(bias, opset13.constant([1, -1, 1, 1]), False))
    return [out.output(0)]
