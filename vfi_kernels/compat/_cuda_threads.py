"""Statements of a kernel in CUDA C, and where its threads, their variables and arrays are."""

from collections.abc import Sequence

import numpy as np

from vfi_kernels._types import Foreign
from vfi_kernels.compat import _cuda_numbers as numbers
from vfi_kernels.compat._cuda_expressions import Node, Type
from vfi_kernels.compat._cuda_numbers import Mask, Pointer, cast
from vfi_kernels.compat._cuda_text import Program, Routine
from vfi_kernels.compat._cuda_tokens import NotUnderstood

MOST_BYTES = 2**27  # of all shared and local arrays
MOST_CALLS = 24  # of functions in functions
TOO_LONG = "a kernel of so many steps"
AXES = ("x", "y", "z")
Size = tuple[int, int, int]


class Variable:
    """`since`: the threads for which it was declared, which are all that see it; `shared`: one of each block, to which
    its value is a pointer."""

    def __init__(self, type: Type, value: Foreign, since: Mask, shared: bool = False):
        self.type, self.value, self.since, self.shared = type, value, since, shared


class Frame:
    """Of a function that was called: its variables, block in block, and what it returns."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, Variable]] = [{}]
        self.result: Foreign = None

    def find(self, name: str) -> Variable | None:
        for block in reversed(self.blocks):
            if name in block:
                return block[name]
        return None


class Loop:
    """The threads that have left it, and that go on with its next round."""

    def __init__(self, nobody: Mask):
        self.left, self.next = nobody, nobody


def split(index: np.ndarray, size: Size) -> tuple[np.ndarray, ...]:
    """x, y and z of the numbers of threads or blocks."""
    return tuple(
        part.astype(np.uint32) for part in (index % size[0], index // size[0] % size[1], index // (size[0] * size[1]))
    )


class Threads:
    """Where the threads of some blocks are, their variables, and their memory."""

    def __init__(self, program: Program, grid: Size, block: Size, blocks: range, shared: int, budget: list[int]):
        self.program, self.budget = program, budget
        self.per_block = per_block = int(np.prod(block))
        self.count = per_block * len(blocks)
        lanes = np.arange(self.count)
        self.lane, self.block, self.blocks = lanes, lanes // per_block, len(blocks)
        places = {"threadIdx": split(lanes % per_block, block), "blockIdx": split(self.block + blocks.start, grid)}
        sizes = {"blockDim": block, "gridDim": grid}
        self.places = {(name, axis): v for name, parts in places.items() for axis, v in zip(AXES, parts)}
        self.places |= {(n, axis): np.uint32(v) for n, parts in sizes.items() for axis, v in zip(AXES, parts)}
        self.shared_bytes, self.arrays = shared, dict[int, Pointer]()
        self.everybody, self.nobody = np.ones(self.count, bool), np.zeros(self.count, bool)
        self.frame = Frame()
        self.frames = [self.frame]
        self.does = {n.removeprefix("do_"): getattr(self, n) for n in dir(self) if n.startswith("do_")}
        self.gives = {n.removeprefix("of_"): getattr(self, n) for n in dir(self) if n.startswith("of_")}
        self.loops: list[Loop] = []
        self.statement: Node | None = None  # an expression by itself, whose value nobody asks for

    def step(self) -> None:
        self.budget[0] -= 1
        if self.budget[0] < 0:
            raise NotUnderstood(TOO_LONG)

    def every(self, value: Foreign) -> Foreign:
        """One for each thread."""
        return np.broadcast_to(value, (self.count,))

    def declared(self, name: str, type: Type, value: Foreign, mask: Mask) -> None:
        if type.number == "auto" and type.stars == 0 and not isinstance(value, Pointer):
            type = Type(value.dtype.name)
        self.frame.blocks[-1][name] = Variable(type, self.fitted(value, type), mask)

    def fitted(self, value: Foreign, type: Type) -> Foreign:
        """A value as a variable of a type holds it."""
        if isinstance(value, Pointer):
            if not type.stars and type.number != "auto":
                raise NotUnderstood("a pointer as a number")
            return value.cast(type.number if type.number != "auto" else "")
        if type.stars:
            raise NotUnderstood("a number as a pointer")
        return cast(value, type.number)

    def assigned(self, variable: Variable, value: Foreign, mask: Mask) -> None:
        value = self.fitted(value, variable.type)
        if mask is variable.since:
            variable.value = value
        elif isinstance(value, Pointer) or isinstance(variable.value, Pointer):
            if not isinstance(variable.value, Pointer) or value.memory is not variable.value.memory:
                if mask.any() and not np.array_equal(mask, variable.since):
                    raise NotUnderstood("a pointer that differs between threads")
                variable.value = value
            else:
                at = np.where(mask, value.at, variable.value.at)
                variable.value = Pointer(value.memory, at, value.sizes)
        else:
            variable.value = np.where(mask, value, variable.value)

    def array(self, node: Node, sizes: tuple[int, ...], mask: Mask) -> Pointer:
        """A fresh array of each thread, or one of each block, which is made once."""
        assert node.type is not None
        if node.type.stars or node.type.number in ("", "auto"):
            raise NotUnderstood("an array of pointers")
        own = node.kind == "array"
        dtype, count = np.dtype(node.type.number), int(np.prod(sizes, dtype=object)) if sizes else 1
        if node.kind == "dynamic":
            count = -(-self.shared_bytes // 8) * 8 // dtype.itemsize
        copies = self.count if own else self.blocks
        held = sum(p.memory.nbytes for key, p in self.arrays.items() if key != id(node))
        if not 0 <= count * copies * dtype.itemsize <= MOST_BYTES - held:
            raise NotUnderstood("an array of this size")
        if own or id(node) not in self.arrays:
            count += -count % 8  # so that it can be read as other numbers
            memory = np.zeros(count * copies, dtype)
            steps = tuple(int(np.prod(sizes[n:], dtype=object)) for n in range(1, len(sizes) + 1))
            self.arrays[id(node)] = Pointer(memory, (self.lane if own else self.block) * count, steps)
        return self.arrays[id(node)]


class Statements(Threads):
    """Each gives the threads that go on after it."""

    def run(self, routine: Routine, arguments: Sequence[Foreign]) -> None:
        for constant in self.program.constants:
            self.declare(constant, self.everybody)
        self.call(routine, arguments, self.everybody)

    def value(self, node: Node, mask: Mask) -> Foreign:
        raise NotImplementedError

    def call(self, routine: Routine, arguments: Sequence[Foreign], mask: Mask) -> Foreign:
        if len(arguments) != len(routine.parameters) or len(self.frames) > MOST_CALLS:
            raise NotUnderstood(f"a call with {len(arguments)} arguments of a function of {len(routine.parameters)}")
        frame = Frame()
        frame.blocks[0] = self.frames[0].blocks[0]  # the constants
        frame.blocks.append({})
        self.frames.append(frame)
        self.frame = frame
        loops, self.loops = self.loops, []
        for (name, type), argument in zip(routine.parameters, arguments):
            self.declared(name, type, argument, mask)
        self.execute(routine.body, mask)
        self.loops = loops
        self.frames.pop()
        self.frame, result = self.frames[-1], frame.result
        return result if result is None or not routine.result.number else self.fitted(result, routine.result)

    def execute(self, node: Node, mask: Mask) -> Mask:
        self.step()
        found: Mask = self.does[node.kind](node, mask) if mask.any() else mask
        return found

    def do_block(self, node: Node, mask: Mask) -> Mask:
        self.frame.blocks.append({})
        for part in node.parts:
            before, mask = mask, self.does[part.kind](part, mask)
            if mask is not before and not mask.any():
                break
        self.step()
        self.frame.blocks.pop()
        return mask

    def do_expression(self, node: Node, mask: Mask) -> Mask:
        self.value(node.parts[0], mask)
        return mask

    def do_declarations(self, node: Node, mask: Mask) -> Mask:
        for part in node.parts:
            self.declare(part, mask)
        return mask

    def declare(self, node: Node, mask: Mask) -> None:
        assert node.type is not None
        sizes, *values = node.parts
        if node.kind == "variable":
            if values and values[0].kind == "list":
                raise NotUnderstood("a list as a number")
            type = Type("int64") if node.type.stars and not values else node.type
            empty = np.zeros((), type.number if type.number != "auto" else "int32")[()]
            if node.type.number == "" and not node.type.stars:
                raise NotUnderstood("a variable of type void")
            value = self.value(values[0], mask) if values else empty
            self.declared(node.text, node.type if values else type, value, mask)
            return
        listed = values[0].parts if values and values[0].kind == "list" else ()
        lengths = [np.int64(len(listed)) if s.kind == "block" else self.value(s, mask) for s in sizes.parts]
        if any(np.ndim(n) or n < 0 for n in lengths):
            raise NotUnderstood("an array whose size differs between threads")
        found = self.array(node, tuple(int(n) for n in lengths), mask)
        one = not sizes.parts
        self.frame.blocks[-1][node.text] = Variable(Type(node.type.number, 1 - one), found, mask, one)
        for n, part in enumerate(listed):
            found.moved(np.int64(n)).write(self.value(part, mask), mask)

    def truth(self, node: Node, mask: Mask) -> Foreign:
        """Of a condition: one, or one for each thread."""
        value = self.value(node, mask)
        return cast(np.int64(1), "bool") if isinstance(value, Pointer) else cast(value, "bool")

    def do_if(self, node: Node, mask: Mask) -> Mask:
        condition, then, otherwise = node.parts
        true = self.truth(condition, mask)
        if np.ndim(true) == 0:
            return self.execute(then if true else otherwise, mask)
        done = self.execute(then, mask & true)
        other = self.execute(otherwise, mask & ~true)
        both: Mask = done | other
        return mask if np.array_equal(both, mask) else both

    def do_loop(self, node: Node, mask: Mask) -> Mask:
        condition, step, body = node.parts
        loop = Loop(self.nobody)
        self.loops.append(loop)
        live, ended, first = mask, self.nobody, node.text == "do"
        known = False  # that there are threads left
        while known or live.any():
            true: Foreign = np.bool_(True) if first else self.truth(condition, live)
            first = False
            if np.ndim(true):
                ended, live = ended | (live & ~true), live if true[live].all() else live & true
                if not live.any():
                    break
            elif not true:
                ended = ended | live
                break
            before, loop.next = live, self.nobody
            live = self.does[body.kind](body, live)
            live = live if loop.next is self.nobody else live | loop.next
            live = before if live is not before and np.array_equal(live, before) else live
            known = live is before
            if known or live.any():
                self.does[step.kind](step, live)
            self.step()
        self.loops.pop()
        done = ended | loop.left
        return mask if np.array_equal(done, mask) else done

    def do_break(self, node: Node, mask: Mask) -> Mask:
        self.inner().left = self.inner().left | mask
        return self.nobody

    def do_continue(self, node: Node, mask: Mask) -> Mask:
        self.inner().next = self.inner().next | mask
        return self.nobody

    def inner(self) -> Loop:
        if not self.loops:
            raise NotUnderstood("break or continue outside of a loop")
        return self.loops[-1]

    def do_return(self, node: Node, mask: Mask) -> Mask:
        if node.parts:
            value, before = self.value(node.parts[0], mask), self.frame.result
            if before is not None and (isinstance(value, Pointer) or isinstance(before, Pointer)):
                raise NotUnderstood("a function that returns one of two pointers")
            self.frame.result = value if before is None else np.where(mask, *numbers.common(value, before))
        return self.nobody
