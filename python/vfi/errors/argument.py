"""The error of a wrong argument. It is one of vfi_kernels, too, which needs torch: `vfi.errors` loads this late."""

import vfi_kernels as vk
from vfi.errors import ARGUMENT, UserError, option_of


class ArgumentError(UserError, vk.ArgumentError):
    """What is wrong with an argument. The sentence has the names of arguments in backticks.

    `ArgumentError("the model needs `weights`")` reads "the model needs weights" in Python, and "the model needs
    --weights" where a command says it. `except vfi_kernels.ArgumentError` catches the errors of models and of ops;
    as that is, this is a RuntimeError and a ValueError.
    """

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of the arguments that the sentence speaks of."""
        return tuple(ARGUMENT.findall(self.args[0]))

    def __str__(self) -> str:
        return ARGUMENT.sub(r"\1", self.args[0])

    def for_command(self) -> str:
        return ARGUMENT.sub(lambda name: option_of(name[1]), self.args[0])
