"""Prepared images on disk, so that the second epoch and the second run decode nothing."""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import platformdirs

from overread import io
from overread.data.manifest import ImageRef, Manifest
from overread.data.problems import ImageFacts, case_facts, facts_of
from overread.errors import DataChanged, InputError, UnreadableImage
from overread.image import Axes, Geometry, Image, Pixels, Source
from overread.preprocessing.step import Step, prepare, settings_of
from overread.provenance import digest_of
from overread.writing import whole, write_whole

IMAGES_A_CASE: Final = "images a case"
"""What is said of a data set, and so of a model, whose cases have several images each."""

_VERSION = 2  # raise it when what is kept, or what a step does, changes


def cache_folder() -> Path:
    """Where prepared images are kept: `OVERREAD_CACHE`, or the user's cache folder; only the user may look in."""
    named = os.environ.get("OVERREAD_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("overread", appauthor=False))


class PreparedImages:
    """Images after their preprocessing, kept under a key of file content and steps.

    Two processes may share the folder: an entry is written whole under another name and then renamed. Deleting
    the folder loses nothing but time.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._facts: dict[ImageRef, ImageFacts] = {}
        self._keys: dict[ImageRef, str] = {}

    def get(self, ref: ImageRef, steps: Sequence[Step]) -> Image:
        """The image after `steps`; decoded and prepared only when it never was before.

        Raises:
            UnreadableImage: the file cannot be read.
            DataChanged: it is not any more what it was when it was first asked for.
        """
        key = digest_of(
            [_VERSION, self._content_key(ref), [settings_of(step) | step.model_dump(mode="json") for step in steps]]
        )
        pixels_file, facts_file = self._files(key)
        try:
            return _load(pixels_file, facts_file, ref.path.name)
        except Exception:  # absent, or damaged in any way: made again
            image = prepare(io.read(ref.path, item=ref.item), steps)
            self._save(image, ref.path.name, pixels_file, facts_file)
            return image

    def facts(self, ref: ImageRef) -> ImageFacts:
        """What an image is, decoded only when it never was before.

        Raises:
            UnreadableImage: the file cannot be read.
        """
        if ref not in self._facts:
            self._facts[ref] = self._looked_up(ref)
        return self._facts[ref]

    def digests(self, manifest: Manifest) -> dict[str, str]:
        """Case id -> digest of the pixels of its images; equal for equal pictures. Unreadable ones are left out."""
        found = {}
        for case in manifest.cases:
            with suppress(UnreadableImage):
                found[case.case_id] = digest_of([facts.pixel_digest for facts in case_facts(case, self.facts)])
        return found

    def channels(self, manifest: Manifest, steps: Sequence[Step]) -> int:
        """How many channels all images have after preprocessing; of tables, how many measurements.

        Raises:
            InputError: they differ.
        """
        if manifest.measurements:
            return len(manifest.measurements)
        made = [step.makes_channels for step in steps if step.makes_channels is not None]
        kinds: dict[int, str] = {}
        for case in manifest.cases:
            kinds.setdefault(made[-1] if made else self.facts(case.images[0]).channels, case.case_id)
        if len(kinds) > 1:
            named = " and ".join(f"{count} channel(s), such as case '{case_id}'" for count, case_id in kinds.items())
            raise InputError(
                f"The images of '{manifest.name}' are not of one kind: {named}. Put the step 'grey' first, which makes "
                "all of them grey, or 'colour', which makes three equal colours of grey."
            )
        return next(iter(kinds))

    def axes(self, manifest: Manifest) -> Axes:
        """3 where there are volumes or sequences, 2 for flat images, 0 for tables (see `models.contract.Shape`)."""
        if manifest.measurements:
            return 0
        flat = all(len(case.images) == 1 and len(self.facts(case.images[0]).shape) == 2 for case in manifest.cases)
        return 2 if flat else 3

    def summary(self, manifest: Manifest) -> dict[str, str]:
        """What the images have in common, for people; unreadable ones are left out."""
        if manifest.measurements:
            return {"measurements": str(len(manifest.measurements))}
        known = []
        for case in manifest.cases:
            for ref in case.images:
                with suppress(UnreadableImage):
                    known.append(self.facts(ref))
        if not known:
            return {}
        sizes = Counter(_size_words(facts.shape) for facts in known).most_common()
        kinds = Counter({1: "grey", 3: "colour"}.get(facts.channels, f"{facts.channels} channels") for facts in known)
        shown = [f"{size} ({count})" for size, count in sizes[:4]]
        lengths = sorted(len(case.images) for case in manifest.cases)
        several = {IMAGES_A_CASE: f"{lengths[0]} to {lengths[-1]}, as one sequence"} if lengths[-1] > 1 else {}
        return several | {
            "image size": ", ".join(shown) + (f" and {len(sizes) - 4} more" if len(sizes) > 4 else ""),
            "image kind": ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common()),
        }

    def _looked_up(self, ref: ImageRef) -> ImageFacts:
        file = self._files(digest_of([_VERSION, "facts", self._content_key(ref)]))[1]
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(file.read_text())
            return ImageFacts(**kept | {"shape": tuple(kept["shape"]), "thumbnail": bytes.fromhex(kept["thumbnail"])})
        facts = facts_of(ref)
        write_whole(file, json.dumps(asdict(facts) | {"thumbnail": facts.thumbnail.hex()}))
        return facts

    def _content_key(self, ref: ImageRef) -> str:
        """The key of a file's content, which stays what it was: else one run would be of two data sets."""
        before = self._keys.get(ref)
        try:
            key = ref.content_key
        except OSError as error:
            if before is not None:
                raise _changed(ref) from error
            io.read(ref.path, item=ref.item)  # refuses it in words
            raise
        if before not in (None, key):
            raise _changed(ref)
        self._keys[ref] = key
        return key

    def _files(self, key: str) -> tuple[Path, Path]:
        folder = self.folder / key[:2]
        return folder / f"{key}.npy", folder / f"{key}.json"

    def _save(self, image: Image, file_name: str, pixels_file: Path, facts_file: Path) -> None:
        pixels_file.parent.mkdir(parents=True, exist_ok=True)
        # the name of the file is left out: it may tell a patient, and another file of the same content has another
        named_by_file, name = image.source.name.startswith(file_name), image.source.name.removeprefix(file_name)
        facts = {
            "affine": None if image.geometry is None else image.geometry.affine.tolist(),
            "units": image.units,
            "modality": image.modality,
            "source": [named_by_file, name, image.source.sha256, list(image.source.instance_uids)],
            "history": list(image.history),
            "window": image.window,
            "to_original": image.to_original.tolist(),
            "original_shape": list(image.original_shape),
        }
        with whole(pixels_file) as temporary, open(temporary, "wb") as file:
            np.save(file, image.pixels)
        facts["checksum"] = _checksum(image.pixels, facts)
        write_whole(facts_file, json.dumps(facts))  # last: its presence says that the pixels are there


def _size_words(shape: tuple[int, ...]) -> str:
    *slices, rows, columns = shape
    return "".join(f"{count} slices of " for count in slices) + f"{rows} x {columns}"


def _changed(ref: ImageRef) -> DataChanged:
    return DataChanged(
        f"{ref.path.name}: this file changed, or went away, after the work with it had begun. Put it back as it was "
        f"('{ref.path}'), and give the same command again."
    )


def _checksum(pixels: Pixels, facts: dict[str, Any]) -> int:
    """Tells pixels and facts from damaged ones, such as pages of zeros after a power cut."""
    return zlib.crc32(pixels.data, zlib.crc32(json.dumps([pixels.shape, facts], sort_keys=True).encode()))


def _load(pixels_file: Path, facts_file: Path, file_name: str) -> Image:
    facts = json.loads(facts_file.read_text())
    with open(pixels_file, "rb") as file:
        pixels = np.load(file, allow_pickle=False)
    if facts.pop("checksum") != _checksum(pixels, facts):
        raise ValueError("a kept image is not what was kept")
    named_by_file, name, sha256, uids = facts["source"]
    return Image(
        pixels=pixels,
        geometry=None if facts["affine"] is None else Geometry(np.array(facts["affine"])),
        units=facts["units"],
        modality=facts["modality"],
        source=Source(file_name + name if named_by_file else name, sha256, tuple(uids)),
        history=tuple(facts["history"]),
        window=None if facts["window"] is None else (facts["window"][0], facts["window"][1]),
        to_original=np.array(facts["to_original"]),
        original_shape=tuple(facts["original_shape"]),
    )
