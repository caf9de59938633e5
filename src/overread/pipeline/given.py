"""What a reading is given: files that are a case each, and examinations that a table makes of several files."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from overread import io
from overread.data.manifest import Case, ImageRef
from overread.data.sources.files import is_image, is_table, tables_in, walk
from overread.data.sources.medmnist import MedMnist
from overread.errors import InputError, SourceError
from overread.export.wording import first_names

if TYPE_CHECKING:
    from overread.data.sources.examinations import NewExaminations


@dataclass(frozen=True)
class Given:
    """What is to be read.

    Args:
        images: name -> the images of a case, in order.
        lone: those of these images that no table ties to others.
        refused: name -> why what is called so has no answer.
        warnings: what must be read before any answer.
    """

    images: Mapping[str, tuple[ImageRef, ...]]
    lone: Collection[Path]
    refused: Mapping[str, str]
    warnings: tuple[str, ...]


def given(paths: Sequence[Path], *, tables: bool) -> Given:
    """Every case under a name that no other has.

    A file goes by the shortest end of its path that no other has. A folder stands for all files in it that are images
    or are called like one: what is damaged is refused by name. A file of benchmark data (MedMNIST) stands for all
    images of its splits, each called as it is when it is learned from.

    Args:
        paths: files and folders.
        tables: whether a table, named or alone in a folder, says which of its images are one case.

    Raises:
        InputError: there is no image.
        SourceError: a table that names none, or cannot be read.
    """
    examinations = _examinations(paths) if tables else {}
    tied = {image.absolute() for some in examinations.values() for images in some.images.values() for image in images}
    files: dict[Path, Path] = {}
    left_out: list[Path] = []
    for path in paths:
        for file in walk(path) if path.is_dir() else examinations[path].lone if path in examinations else [path]:
            if file.absolute() in tied or file in examinations:
                continue
            if not path.is_dir() or io.is_image(file) or is_image(file):
                files.setdefault(file.absolute(), file)
            else:
                left_out.append(file)
    ends = Counter(end for file in files for end in _ends(file))
    images: dict[str, tuple[ImageRef, ...]] = {}
    for file, shown in files.items():
        name = next(end for end in _ends(file) if ends[end] == 1)
        images |= {f"{name}/{case.case_id}": case.images for case in _inside(shown)} or {name: (ImageRef(shown),)}
    refused: dict[str, str] = {}
    for table, some in examinations.items():
        for name in (*some.images, *some.refused):
            plain = len(examinations) == 1 and name not in images
            called = name if plain else f"{table}: {name}"
            if name in some.images:
                images[called] = tuple(map(ImageRef, some.images[name]))
            else:
                refused[called] = some.refused[name]
    if not images and not refused:
        raise InputError(
            f"There is no image in {', '.join(str(path) for path in paths)}. Name files or folders of images."
        )
    warnings = tuple(line for some in examinations.values() for line in some.warnings)
    return Given(images, files.values(), refused, (*warnings, *_left_out_words(left_out)))


def _examinations(paths: Sequence[Path]) -> dict[Path, NewExaminations]:
    """The tables that were named, and those alone in a folder that tie images into cases, with what they name."""
    from overread.data.sources.examinations import new_examinations  # pandas, which most readings do without

    found = {}
    for path in paths:
        if path.is_file() and is_table(path):
            found[path] = new_examinations(path)
        elif path.is_dir() and len(inside := tables_in(path)) == 1:
            with suppress(SourceError):  # else its images are refused one by one, with the advice to name a table
                named = new_examinations(inside[0])
                if named.images:
                    found[inside[0]] = named
    return found


def _inside(file: Path) -> tuple[Case, ...]:
    """The images of a file of benchmark data; none of any other, and of a damaged one, which is then refused."""
    with suppress(SourceError, zipfile.BadZipFile, OSError):
        if MedMnist().recognises(file):
            return MedMnist().read(file).cases
    return ()


def _ends(file: Path) -> list[str]:
    """Of a/b/c.png: c.png, b/c.png, a/b/c.png."""
    return ["/".join(file.parts[-count:]) for count in range(1, len(file.parts) + 1)]


def _left_out_words(files: Sequence[Path]) -> list[str]:
    if not files:
        return []
    named = first_names([file.name for file in files])
    return [f"{len(files)} files in these folders are no images and were not read: {named}"]
