"""timm and torchvision loaded without torch's compiler, which they ask for by name and do not use here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_UTILS = f"{_COMPILER}.utils"


@contextmanager
def without_compiler() -> Iterator[None]:
    """Let modules be imported that name torch's compiler, and leave the compiler itself out until it is used.

    torchvision asks it whether it could compile RoIAlign, and both mark functions that it shall leave alone; for that
    it would be loaded whenever an image is read, which takes about as long as all of torch. In its place stand modules
    that know these two names; whatever else they are asked for, the compiler is loaded and answers itself. Once the
    imports are done they are taken away, so that whoever compiles finds the compiler; only the marks are not there,
    which costs who compiles such a function time and no correctness.
    """
    if _COMPILER in sys.modules:
        yield
        return
    package, utils, parts = _StandIn(_COMPILER), _StandIn(_UTILS), _Parts()
    vars(package).update(disable=_left_alone, utils=utils, __path__=[])
    vars(utils).update(is_compile_supported=_is_compile_supported)
    sys.modules.update({_COMPILER: package, _UTILS: utils})
    sys.meta_path.insert(0, parts)
    try:
        yield
    finally:
        sys.meta_path.remove(parts)
        _take_away()


class _StandIn(ModuleType):
    """A module that gives way to the true one as soon as it is asked for anything that it does not know."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system's own questions, such as __spec__
            raise AttributeError(name)
        _take_away()
        return getattr(importlib.import_module(self.__name__), name)


class _Parts(MetaPathFinder):
    """Finds the parts of the compiler that nothing stands in for: in the compiler, which is loaded for them."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if not fullname.startswith(f"{_COMPILER}.") or not isinstance(sys.modules.get(_COMPILER), _StandIn):
            return None
        _take_away()
        return ModuleSpec(fullname, _Loaded(importlib.import_module(fullname)))


class _Loaded(Loader):
    """Gives a module that is loaded already."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        pass


def _take_away() -> None:
    for name in (_COMPILER, _UTILS):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _left_alone(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    return (lambda given: given) if function is None else function


def _is_compile_supported(device: str) -> bool:
    supported: bool = importlib.import_module(_UTILS).is_compile_supported(device)
    return supported
