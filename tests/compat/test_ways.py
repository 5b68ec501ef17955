"""compat.patch: a function that can go a way that no trial took stays; what only raises, or was compared, does not
count."""

import pytest
from compat.test_patch_trials import module_of, replaced
from compat.transcriptions import cost_volume, softsplat

from vfi_kernels import compat

CONDITIONS = {  # of an image and a flow
    "a value": "img.max() > 200",
    "a mean": "img.mean() < -1",
    "a deviation": "img.std() > 100",
    "no flow": "flow.sum() == 0",
    "hardly any flow": "flow.abs().max() < 1e-3",
    "all of it": "torch.all(flow == 0)",
    "an item": "flow.abs().max().item() > 1e6",
    "a number": "float(img.min()) < -5",
    "a rest": "img.shape[3] % 7 == 3",
    "another rest": "flow.shape[2] % 32 == 17",
    "many images": "len(img) > 8 and len(img) < 11 and img.shape[3] == 50",
    "a batch": "img.shape[0] >= 16 and img.shape[2] != img.shape[3]",
    "bytes": "img.nbytes > 10_000_000",
    "a parameter": "isinstance(img, torch.nn.Parameter)",
    "strides": "flow.stride(1) == 1",
    "a transposed flow": "not flow.is_contiguous()",
    "a view": "img._base is not None and img.shape[0] == 7",
    "a pointer": "img.data_ptr() % 64 == 4",
    "a variable in between": "(lambda n: n * n)(img.shape[2]) == 51 * 51",
    "a helper": "far(flow)",
    "a helper of sizes": "odd(flow.shape[2], flow.shape[3])",
}
HELPERS = """
def far(flow, most=1e5):
    if flow.abs().max() > most: return True
    return False
def odd(h, w): return h == 51 and w == 53
def scaled(flow, double=False): return flow * 2 if double else flow
"""
WAYS = {
    "if": "  if {c}: flow = flow * 2\n",
    "if not": "  if not ({c}): flow = flow * 1\n  else: flow = flow * 2\n",
    "a choice": "  flow = flow * (2 if {c} else 1)\n",
    "a variable": "  which = {c}\n  if which: flow = flow * 2\n",
    "a return": "  if {c}: return img\n",
    "a list": "  flow = [flow * 2 for _ in range(1) if {c}][0] if [n for n in range(1) if {c}] else flow\n",
    "a name in between": "  if (which := {c}) and which: flow = flow * 2\n",
    "an argument": "  flow = scaled(flow, bool({c}))\n",
    "an argument by name": "  flow = scaled(flow, double=bool({c}))\n",
    "a loop": "  while {c}: flow = flow / 2 + 1\n",
    "an error that is caught": "  try:\n    assert not ({c})\n  except AssertionError: flow = flow * 2\n",
}


# Each condition as an `if`, and every way with two conditions.
PAIRS = sorted({("if", c) for c in CONDITIONS} | {(w, c) for w in WAYS for c in ("a value", "a rest")})


@pytest.mark.parametrize(("way", "condition"), PAIRS)
@pytest.mark.in_turn(of=3)
def test_a_way_that_no_trial_takes(way, condition):
    body = WAYS[way].format(c=CONDITIONS[condition])
    module = module_of(f"{HELPERS}def warp(img, flow):\n{body}  return warped(img, flow)")
    report = compat.patch(module)
    assert "made_up.warp" not in replaced(report) and "made_up.warped" in replaced(report), str(report)


RESULTS = {  # without a jump
    "a table": "flow * {True: 2, False: 1}[bool(img.max() > 20)]",
    "a pair": "flow * (1, 2)[int(img.max() > 20)]",
    "a number": "flow * (1 + round(float(img.max()) // 20))",
    "a list": "flow * (1 + sum(v > 20 for v in img[0, 0, 0].tolist()))",
}


@pytest.mark.parametrize("kind", RESULTS)
def test_what_goes_by_values_stays(kind):
    report = compat.patch(module_of(f"def warp(img, flow): return warped(img, {RESULTS[kind]})"))
    assert "made_up.warp" not in replaced(report), str(report)


FINE = {
    "an assertion": "assert img.shape[2:] == flow.shape[2:] and img.dim() == 4",
    "an error": 'if img.shape[2] > 9999: raise ValueError(f\'too {"many" if len(img) else "few"}\')',
    "on a GPU": "if img.is_cuda: flow = flow.cuda()",
    "a device": "if img.device.type != 'cpu': flow = flow.to(img.device)",
    "a switch": "flow = scaled(flow)",
    "a literal": "flow = scaled(flow, False)",
    "a word": "flow = by_word(flow, 'a')",
    "a parameter": "flow = flow * 1 if mode == 'bilinear' else flow * 2",
    "a setting": "flow = flow * (2 if DOUBLE else 1)",
    "both sides": "flow = flow * 1 if len(img) == 1 else flow + 0",
    "channels": "flow = flow + 0 if img.shape[1] == 3 else flow * 1",
    "gradients": "flow = flow + 0 if img.requires_grad else flow * 1",
}
OF_FINE = """
DOUBLE = False
def scaled(flow, double=False): return flow * 2 if double else flow
def by_word(flow, word): return flow if word == 'a' else flow * 2
"""


@pytest.mark.parametrize("kind", FINE)
@pytest.mark.in_turn
def test_ways_that_do_not_count(kind):
    module = module_of(f"{OF_FINE}def warp(img, flow, mode='bilinear'):\n  {FINE[kind]}\n  return warped(img, flow)")
    report = compat.patch(module)
    assert "made_up.warp" in replaced(report), str(report)


OTHERS = {
    "splat": (lambda tenIn, tenFlow, tenMetric, strMode: softsplat(tenIn, tenFlow, tenMetric, strMode), "softsplat",
              "tenIn, tenFlow, tenMetric, strMode"),
    "volume": (lambda tenFirst, tenSecond: cost_volume(tenFirst, tenSecond), "FunctionCorrelation",
               "tenFirst, tenSecond"),
}  # fmt: skip


@pytest.mark.in_turn("kind", "condition")
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("condition", ["{x}.max() > 200", "{x}.shape[3] % 7 == 2 and {x}.shape[2] == 33"])
def test_of_other_functions_too(kind, condition):
    inner, name, names = OTHERS[kind]
    x = names.partition(",")[0]
    code = f"def {name}({names}):\n  if {condition.format(x=x)}: return {x}\n  return inner({names})"
    module = module_of(code)
    module.inner = inner
    report = compat.patch(module)
    assert f"made_up.{name}" not in replaced(report), str(report)
