"""New images as they come: good ones among files that cannot be read."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def picture(path: Path, seed: int = 0, shape: tuple[int, ...] = (64, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)).save(path)
    return path


def answers_in(folder: Path) -> dict[str, Any]:
    return {one["source"]: one for one in json.loads((folder / "predictions.json").read_text())["predictions"]}


def test_what_cannot_be_read_is_refused_by_name_and_the_others_are_read(
    overread: Any, classifier: Path, tmp_path: Path
) -> None:
    good = [picture(tmp_path / "good 1.png", 1), picture(tmp_path / "Lösion Größe.png", 2)]
    text = tmp_path / "letter.png"
    text.write_text("Dear colleague")
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture(tmp_path / "whole.png").read_bytes()[:1500])
    empty = tmp_path / "empty.dcm"
    empty.write_bytes(b"")
    colour = picture(tmp_path / "colour.png", shape=(64, 64, 3))
    missing = tmp_path / "missing.png"
    bad = [text, cut, empty, colour, missing]
    said = overread("read", classifier, good[0], *bad, good[1], "--out", tmp_path / "out")
    assert said.code == 1
    assert "2 of 7 cases were read." in said.out
    answers = answers_in(tmp_path / "out")
    assert list(answers) == [path.name for path in (good[0], *bad, good[1])]
    report = (tmp_path / "out" / "report.html").read_text()
    for path in bad:
        assert path.name not in answers[path.name]["refused"]  # it is said once, beside the reason
        assert answers[path.name]["scores"] == {}
        assert f"refused: {answers[path.name]['case_id']}: {answers[path.name]['refused']}" in said.err
        assert path.name in report
    assert "the step 'grey', which takes both" in answers["colour.png"]["refused"]
    for path in good:
        assert answers[path.name]["refused"] is None
        assert set(answers[path.name]["scores"]) == {"normal", "stone", "tumour"}
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


def test_a_file_of_benchmark_data_stands_for_its_images_and_a_damaged_one_is_refused(
    overread: Any, classifier: Path, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 64), dtype=np.uint8)
    labels = np.zeros((3, 1), np.uint8)
    one = {"train_images": images[:1], "train_labels": labels[:1]}
    np.savez(tmp_path / "mnist.npz", test_images=images, test_labels=labels, **one)
    np.savez(tmp_path / "wrong.npz", test_images=images, test_labels=labels[:1])
    said = overread("read", classifier, tmp_path / "mnist.npz", tmp_path / "wrong.npz", "--out", tmp_path / "out")
    assert "4 of 5 cases were read." in said.out
    answers = answers_in(tmp_path / "out")
    names = ["train_000000", "test_000000", "test_000001", "test_000002"]
    assert set(answers) == {*(f"mnist.npz/{name}" for name in names), "wrong.npz"}
    assert answers["mnist.npz/train_000000"]["scores"] == answers["mnist.npz/test_000000"]["scores"]
    assert answers["mnist.npz/test_000001"]["scores"] != answers["mnist.npz/test_000000"]["scores"]
    assert answers["wrong.npz"]["refused"]


def test_two_images_of_one_name_are_kept_apart_and_can_be_told_apart(
    overread: Any, classifier: Path, tmp_path: Path
) -> None:
    for place, name in enumerate(["a/x.png", "b/x.png", "b/x-2.png", "c d/x.png", "c d/X.PNG"]):
        picture(tmp_path / "in" / name, place)
    (tmp_path / "in" / "notes.docx").write_text("no image")
    said = overread("read", classifier, tmp_path / "in", tmp_path / "in" / "a" / "x.png", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    answers = answers_in(tmp_path / "out")
    assert sorted(answers) == ["X.PNG", "a/x.png", "b/x.png", "c d/x.png", "x-2.png"]
    assert len({one["case_id"].lower() for one in answers.values()}) == 5
    assert len({tuple(one["scores"].values()) for one in answers.values()}) == 5
    assert len(list((tmp_path / "out").glob("*.png"))) == 5
    assert "1 files in these folders are no images and were not read: notes.docx" in said.err
    assert "notes.docx" in (tmp_path / "out" / "report.html").read_text()


def test_a_damaged_image_in_a_folder_is_not_passed_over_in_silence(
    overread: Any, classifier: Path, tmp_path: Path
) -> None:
    picture(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "lost.png").write_bytes(b"")
    said = overread("read", classifier, tmp_path / "in", "--out", tmp_path / "out")
    assert said.code == 1
    assert "refused: lost: " in said.err
    assert "an empty file" in answers_in(tmp_path / "out")["lost.png"]["refused"]


def test_images_of_other_sizes_and_depths_are_read_together(overread: Any, classifier: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "wide.png", shape=(48, 96))
    deep = np.random.default_rng(0).integers(0, 65535, (64, 64), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "in" / "deep.png")
    said = overread("read", classifier, tmp_path / "in", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert len(answers_in(tmp_path / "out")) == 2
    page = (tmp_path / "out" / "report.html").read_text()
    assert re.search(r"networks that had not learned from it: \d+ of \d+ normal called so", page)


def test_grey_that_was_saved_as_colour_is_read_as_grey(overread: Any, classifier: Path, tmp_path: Path) -> None:
    grey = picture(tmp_path / "grey.png")
    Image.open(grey).convert("RGB").save(tmp_path / "rgb.png")
    said = overread("read", classifier, grey, tmp_path / "rgb.png", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    answers = answers_in(tmp_path / "out")
    assert answers["rgb.png"]["scores"] == pytest.approx(answers["grey.png"]["scores"], abs=1e-6)


def test_an_image_many_times_as_large_as_those_learned_from_gets_no_class(
    overread: Any, classifier: Path, tmp_path: Path
) -> None:
    said = overread("read", classifier, picture(tmp_path / "large.png", shape=(256, 256)), "--out", tmp_path / "out")
    assert said.code == 1
    assert "256 x 256 px; what it learned from had sides of 64 px" in said.err


def test_marks_in_an_image_many_times_as_large_come_with_a_warning(overread: Any, marker: Path, tmp_path: Path) -> None:
    said = overread("read", marker, picture(tmp_path / "large.png", shape=(256, 256)), "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert "The answers to 1 of these 1 images may be wrong: large.png" in said.err
    assert "may be wrong: large.png" in (tmp_path / "out" / "report.html").read_text()
    assert "64 px" in answers_in(tmp_path / "out")["large.png"]["doubt"]


def test_a_blank_picture_is_refused_and_not_classified(overread: Any, classifier: Path, tmp_path: Path) -> None:
    Image.new("L", (64, 64), 7).save(tmp_path / "blank.png")
    said = overread("read", classifier, tmp_path / "blank.png", "--out", tmp_path / "out")
    assert said.code == 1
    assert "are equal, so that they show nothing" in said.err


def test_a_marker_reads_good_images_among_bad_ones(overread: Any, marker: Path, discs: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    said = overread("read", marker, discs / "images" / "00.png", empty, "--out", tmp_path / "out")
    assert said.code == 1
    assert answers_in(tmp_path / "out")["00.png"]["refused"] is None


def test_a_model_of_simulated_images_does_not_make_a_patients_image_a_simulated_one(
    overread: Any, classifier: Path, tmp_path: Path
) -> None:
    said = overread("read", classifier, picture(tmp_path / "patient.png"), "--out", tmp_path / "out")
    assert said.code == 0, said.err
    told = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (told["simulated"], told["model_simulated"]) == (False, True)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "This model learned from SIMULATED images" in page
    assert "SIMULATED IMAGE" not in page


def test_a_simulated_image_is_one_also_for_a_model_of_other_images(
    overread: Any, marker: Path, discs: Path, phantom: Any, tmp_path: Path
) -> None:
    given = [discs / "images" / "00.png", phantom.images[0]]
    said = overread("read", marker, *given, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    told = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (told["simulated"], told["model_simulated"]) == (True, False)
    assert [one["simulated"] for one in told["predictions"]] == [False, True]
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"1 of 2 images are SIMULATED and show no patient: {given[1].name}" in page
    assert page.count("SIMULATED IMAGE") == 1
    assert "model learned from SIMULATED" not in page


def test_who_reads_is_told_which_images_the_model_learned_from(
    overread: Any, marker: Path, discs: Path, tmp_path: Path
) -> None:
    known = [path.name for path in sorted((discs / "images").iterdir())]
    said = overread("read", marker, discs / "images", picture(tmp_path / "new.png"), "--out", tmp_path / "out")
    assert said.code == 0, said.err
    told = [name for name, one in answers_in(tmp_path / "out").items() if one["learned_from"]]
    assert set(told) < set(known)  # some were held out
    assert len(told) > 3
    words = f"The model learned from {len(told)} of these {len(known) + 1} images"
    assert words in said.err
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index(words) < page.index('class="headline"')
    assert page.count("The model learned from this very image") == len(told)


@pytest.mark.parametrize("command", ["read", "evaluate"])
def test_a_folder_with_files_of_its_owner_is_left_alone(
    command: str, overread: Any, classifier: Path, phantom: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    given = phantom.images[0] if command == "read" else phantom.labels
    said = overread(command, classifier, given, "--out", tmp_path / "mine")
    assert said.code == 1
    assert "holds something already" in said.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_without_images_is_refused(overread: Any, classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    said = overread("read", classifier, tmp_path / "in", "--out", tmp_path / "out")
    assert said.code == 1
    assert "no image" in said.err
    assert not (tmp_path / "out").exists()


def test_a_path_that_is_not_there_costs_no_folder(overread: Any, classifier: Path, tmp_path: Path) -> None:
    said = overread("read", classifier, tmp_path / "gone.png", "--out", tmp_path / "out")
    assert said.code == 1
    assert "gone.png': there is no such file or folder" in said.err
    assert not (tmp_path / "out").exists()


def test_results_do_not_go_among_the_images(overread: Any, classifier: Path, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    said = overread("read", classifier, tmp_path / "images", "--out", tmp_path / "images" / "out")
    assert said.code == 1
    assert "Name a folder outside of it" in said.err
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.png"]
