"""A kernel in CUDA C, computed on the CPU: all threads of some blocks at once, statement by statement, so that a
barrier has nothing to do. Whatever the text says, it ends: steps are counted."""

from collections.abc import Sequence

import numpy as np

from vfi_kernels._types import Foreign
from vfi_kernels.compat import _cuda_numbers as numbers
from vfi_kernels.compat._cuda_expressions import Node
from vfi_kernels.compat._cuda_numbers import Mask, Pointer, cast
from vfi_kernels.compat._cuda_text import Program
from vfi_kernels.compat._cuda_threads import TOO_LONG, Size, Statements, Variable
from vfi_kernels.compat._cuda_tokens import NotUnderstood

BARRIERS = ("__syncthreads", "__syncwarp", "__threadfence", "__threadfence_block", "assert")
ATOMIC = {"atomicAdd": "+", "atomicSub": "-", "atomicMax": "max", "atomicMin": "min", "atomicExch": "=",
          "atomicAnd": "&", "atomicOr": "|", "atomicXor": "^"}  # fmt: skip
TOGETHER = {"+": np.add, "-": np.subtract, "max": np.maximum, "min": np.minimum}
SHUFFLES = ("__shfl_down", "__shfl_up", "__shfl_xor", "__shfl")
WARP = 32
MOST_STEPS = 1_000_000  # expressions and statements, each for all threads of some blocks
MOST_THREADS = 2**22
AT_ONCE = 2**15  # threads, more or less


def launch(program: Program, name: str, grid: Size, block: Size, arguments: Sequence[Foreign], shared: int) -> None:
    """Computes a kernel; `arguments`: numbers, and pointers to the tensors that it reads and writes."""
    routine = program.routines.get(name)
    if routine is None:
        raise NotUnderstood(f"a kernel without {name} in it")
    threads, blocks = int(np.prod(block)), int(np.prod(grid))
    if min(*grid, *block) < 1 or threads > 1024 or threads * blocks > MOST_THREADS:
        raise NotUnderstood(f"a launch of {blocks} blocks of {threads} threads")
    budget = [MOST_STEPS]
    step = max(1, AT_ONCE // threads)
    with np.errstate(all="ignore"):
        for first in range(0, blocks, step):
            Machine(program, grid, block, range(first, min(first + step, blocks)), shared, budget).run(
                routine, arguments
            )


class Machine(Statements):
    def value(self, node: Node, mask: Mask) -> Foreign:
        self.budget[0] -= 1
        if self.budget[0] < 0:
            raise NotUnderstood(TOO_LONG)
        return self.gives[node.kind](node, mask)

    def of_number(self, node: Node, mask: Mask) -> Foreign:
        return numbers.literal(node.text)

    def of_name(self, node: Node, mask: Mask) -> Foreign:
        variable = self.frame.find(node.text)
        if variable is not None:
            return variable.value.read(mask) if variable.shared else variable.value
        if node.text in numbers.LITERALS:
            return numbers.LITERALS[node.text]
        raise NotUnderstood(f"the name {node.text}")

    def of_member(self, node: Node, mask: Mask) -> Foreign:
        key = (node.parts[0].text, node.text)
        if key not in self.places:
            raise NotUnderstood(f"the member {node.text}")
        return self.places[key]

    def of_comma(self, node: Node, mask: Mask) -> Foreign:
        self.value(node.parts[0], mask)
        return self.value(node.parts[1], mask)

    def of_cast(self, node: Node, mask: Mask) -> Foreign:
        assert node.type is not None
        value = self.value(node.parts[0], mask)
        if node.type.number == "" and not node.type.stars:
            return value
        return self.fitted(value, node.type)

    def of_unary(self, node: Node, mask: Mask) -> Foreign:
        value = self.value(node.parts[0], mask)
        if node.text == "!":
            return ~cast(value, "bool") if not isinstance(value, Pointer) else np.bool_(False)
        if isinstance(value, Pointer) or (node.text == "~" and value.dtype.kind == "f"):
            raise NotUnderstood(f"{node.text} of a pointer or of a number with a fraction")
        value = numbers.common(value, value)[0]
        return {"-": np.negative, "~": np.invert, "+": np.positive}[node.text](value)

    def of_binary(self, node: Node, mask: Mask) -> Foreign:
        return numbers.computed(node.text, self.value(node.parts[0], mask), self.value(node.parts[1], mask))

    def of_logic(self, node: Node, mask: Mask) -> Foreign:
        left = self.truth(node.parts[0], mask)
        both = node.text == "&&"
        asked = mask if np.ndim(left) == 0 else mask & (left if both else ~left)
        if (np.ndim(left) == 0 and bool(left) != both) or not asked.any():
            return left
        right = self.truth(node.parts[1], asked)
        return left & right if both else left | right

    def of_choose(self, node: Node, mask: Mask) -> Foreign:
        true = self.truth(node.parts[0], mask)
        if np.ndim(true) == 0:
            return self.value(node.parts[1 if true else 2], mask)
        first, second = mask & true, mask & ~true
        if not first.any() or not second.any():
            return self.value(node.parts[1 if first.any() else 2], mask)
        a, b = self.value(node.parts[1], first), self.value(node.parts[2], second)
        if isinstance(a, Pointer) or isinstance(b, Pointer):
            raise NotUnderstood("one of two pointers")
        return np.where(true, *numbers.common(a, b))

    def of_call(self, node: Node, mask: Mask) -> Foreign:
        name = node.text
        if name in BARRIERS:
            return np.int32(0)
        if name == "__ldg":
            return self.pointer(node.parts[0], mask).read(mask)
        if name.removesuffix("_block").removesuffix("_system") in (*ATOMIC, "atomicCAS", "atomicInc", "atomicDec"):
            return self.atomic(name.removesuffix("_block").removesuffix("_system"), node, mask)
        if name in self.program.routines:
            found = self.call(self.program.routines[name], [self.value(p, mask) for p in node.parts], mask)
            return np.int32(0) if found is None else found
        given = [self.value(p, mask) for p in node.parts]
        if name.removesuffix("_sync") in SHUFFLES:
            return self.shuffled(name.removesuffix("_sync"), given[int(name.endswith("_sync")) :])
        return numbers.of_numbers(name, given)

    def pointer(self, node: Node, mask: Mask) -> Pointer:
        found = self.value(node, mask)
        if not isinstance(found, Pointer):
            raise NotUnderstood("a number as a pointer")
        return found

    def place(self, node: Node, mask: Mask) -> Variable | Pointer:
        """What an expression stands for that something is put into."""
        if node.kind == "name":
            found = self.frame.find(node.text)
            if found is None:
                raise NotUnderstood(f"the name {node.text}")
            return found.value if found.shared else found
        if node.kind == "at":
            return self.pointer(node.parts[0], mask)
        if node.kind == "index":
            base, index = self.pointer(node.parts[0], mask), self.value(node.parts[1], mask)
            if isinstance(index, Pointer) or index.dtype.kind == "f":
                raise NotUnderstood("an index that is no whole number")
            moved = base.moved(index.astype(np.int64) * (base.sizes[0] if base.sizes else 1))
            return Pointer(moved.memory, moved.at, base.sizes[1:])
        raise NotUnderstood("an assignment to what is neither a variable nor an element")

    def of_index(self, node: Node, mask: Mask) -> Foreign:
        found = self.place(node, mask)
        assert isinstance(found, Pointer)
        return found if found.sizes else found.read(mask)  # a row of an array in several dimensions

    def of_at(self, node: Node, mask: Mask) -> Foreign:
        return self.pointer(node.parts[0], mask).read(mask)

    def of_address(self, node: Node, mask: Mask) -> Foreign:
        found = self.place(node.parts[0], mask)
        if isinstance(found, Variable):
            raise NotUnderstood("the address of a variable")
        return found

    def of_assign(self, node: Node, mask: Mask) -> Foreign:
        return self.put(node, mask)[1]

    def of_after(self, node: Node, mask: Mask) -> Foreign:
        return self.put(node, mask)[0]

    def put(self, node: Node, mask: Mask) -> tuple[Foreign, Foreign]:
        """What was there, and what is."""
        place, value = self.place(node.parts[0], mask), self.value(node.parts[1], mask)
        before = None
        if node.text:
            before = place.value if isinstance(place, Variable) else place.read(mask)
            value = numbers.computed(node.text, before, value)
        if isinstance(place, Variable):
            self.assigned(place, value, mask)
            return before, place.value
        place.write(value, mask)
        return before, value

    def shuffled(self, name: str, given: list[Foreign]) -> Foreign:
        """The value of another thread of 32."""
        value, by = self.every(given[0]), self.every(given[1]).astype(np.int64)
        own = self.lane % self.per_block % WARP
        to = {"__shfl_down": own + by, "__shfl_up": own - by, "__shfl_xor": own ^ by, "__shfl": by % WARP}[name]
        first = self.lane % self.per_block - own
        to = np.where((to < 0) | (to >= WARP) | (first + to >= self.per_block), own, to)
        return value[self.lane - own + to]

    def atomic(self, name: str, node: Node, mask: Mask) -> Foreign:
        """One thread after another. What was there is given back to each."""
        pointer, *given = [self.value(p, mask) for p in node.parts]
        if not isinstance(pointer, Pointer) or name in ("atomicInc", "atomicDec") or not mask.any():
            raise NotUnderstood(f"{name} of this")
        at = np.broadcast_to(pointer.places(mask), (int(mask.sum()),))
        dtype = pointer.memory.dtype
        values = [self.every(numbers.converted(g, dtype))[mask] for g in given]
        mark = ATOMIC.get(name, "")
        before = np.zeros(self.count, dtype)
        before[mask] = pointer.memory[at]
        if mark in TOGETHER and len(values) == 1 and not self.used(node):
            TOGETHER[mark].at(pointer.memory, at, values[0])
            return before
        memory, lanes = pointer.memory, np.flatnonzero(mask)
        if len(lanes) > self.budget[0]:
            raise NotUnderstood(TOO_LONG)
        self.budget[0] -= len(lanes)
        for n, lane in enumerate(lanes):
            old = before[lane] = memory[at[n]]
            if name == "atomicCAS":
                memory[at[n]] = values[1][n] if old == values[0][n] else old
            elif mark in ("max", "min"):
                memory[at[n]] = TOGETHER[mark](old, values[0][n])
            else:
                memory[at[n]] = values[0][n] if mark == "=" else numbers.computed(mark, old, values[0][n])
        return before

    def used(self, node: Node) -> bool:
        """Whether the text asks for what an atomic function gives back: unless it is a statement by itself."""
        return self.statement is not node

    def do_expression(self, node: Node, mask: Mask) -> Mask:
        self.statement = node.parts[0]
        return super().do_expression(node, mask)
