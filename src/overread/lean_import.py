"""timm and torchvision loaded without torch's compiler, which they ask for by name and do not use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_UTILS = f"{_COMPILER}.utils"


@contextmanager
def without_compiler() -> Iterator[None]:
    """Let modules be imported that name torch's compiler, and leave the compiler itself out until it is used.

    torchvision asks it whether it could compile RoIAlign, timm marks a method that it shall leave alone; for that it
    would be loaded whenever an image is read, which takes a third of all the time (`benchmarks/start_up.py`). In its
    place stand modules that know these two names; whatever else they are asked for, they load the compiler and answer
    with that. Once the imports are done they are taken away, so that whoever compiles finds the compiler.
    """
    if _COMPILER in sys.modules:
        yield
        return
    package, utils = _Placeholder(_COMPILER), _Placeholder(_UTILS)
    vars(package).update(disable=_left_alone, utils=utils, __path__=[])
    vars(utils).update(is_compile_supported=_is_compile_supported)
    placeholders = {_COMPILER: package, _UTILS: utils}
    sys.modules.update(placeholders)
    try:
        yield
    finally:
        _take_away(placeholders)


class _Placeholder(ModuleType):
    """A module that is loaded as soon as it is asked for anything that it does not know."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system's own questions, such as __spec__
            raise AttributeError(name)
        _take_away({key: module for key, module in sys.modules.items() if isinstance(module, _Placeholder)})
        return getattr(importlib.import_module(self.__name__), name)


def _take_away(placeholders: Mapping[str, ModuleType]) -> None:
    for name, module in placeholders.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]


def _left_alone(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    return (lambda given: given) if function is None else function


def _is_compile_supported(device: str) -> bool:
    supported: bool = importlib.import_module(_UTILS).is_compile_supported(device)
    return supported
