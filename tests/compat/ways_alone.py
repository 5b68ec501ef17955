"""`vfi_kernels.compat._coverage` by itself, without torch, in the Python that runs this: prints the cases of
ways_cases.py that it judges otherwise. Arguments: the folder of `vfi_kernels`."""

import importlib
import sys
import types
from pathlib import Path

PACKAGE = Path(sys.argv[1])


class Differs(Exception):
    pass


def stand_in(name, **attributes):
    module = types.ModuleType(name)
    vars(module).update(attributes)
    sys.modules[name] = module
    return module


nn = stand_in("torch.nn", Module=type("Module", (), {}))
stand_in("torch", nn=nn, Tensor=type("Tensor", (), {}), dtype=type("dtype", (), {}), device=type("device", (), {}))
stand_in("vfi_kernels", __path__=[str(PACKAGE)])
stand_in("vfi_kernels.compat", __path__=[str(PACKAGE / "compat")])
stand_in("vfi_kernels.compat._warp_results", Differs=Differs)
stand_in("vfi_kernels.compat._spaces", OURS=f"{PACKAGE}/")
coverage = importlib.import_module("vfi_kernels.compat._coverage")
cases = importlib.import_module("ways_cases")

for function, calls, whole in cases.CASES:
    for order in (calls, calls[::-1]):
        with coverage.anew():
            for arguments in order:
                with coverage.recorded():
                    function(*arguments)
            try:
                coverage.expect_every_way()
                found = "every way"
            except Differs as error:
                found = str(error)
        if (found == "every way") != whole:
            print(f"{function.__name__}{order}: {found}")
print(f"{len(cases.CASES)} cases")
