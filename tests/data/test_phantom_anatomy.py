"""What is in a simulated patient before it is written."""

import numpy as np
import pytest
from scipy import ndimage

from overread.data.phantom.acquisition import NOISE_HU, scan_patient
from overread.data.phantom.anatomy import HU_RANGES, abdomen
from overread.data.phantom.inclusions import draw_inclusions
from overread.data.phantom.space import Grid, Space, Tissue

GRID = Grid(128, 6, top_mm=12.5)
SEEDS = range(6)


@pytest.fixture(scope="module", params=SEEDS)
def scan(request):
    return scan_patient(GRID, None, np.random.default_rng(request.param))


@pytest.mark.parametrize(
    "tissue", [Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY, Tissue.MUSCLE, Tissue.FAT, Tissue.BLOOD]
)
def test_a_tissue_lies_in_its_range_after_blur_and_noise(scan, tissue):
    inside = ndimage.binary_erosion(scan.anatomy.tissue == tissue, np.ones((1, 3, 3)))
    for inclusion in scan.inclusions:
        inside &= inclusion.cover(GRID, scan.anatomy.tissue) < 0.01
    low, high = HU_RANGES[tissue]
    assert inside.any()
    assert low - 4 < np.median(scan.hu[inside]) < high + 4


def test_every_organ_is_there(scan):
    wanted = {Tissue.LIVER, Tissue.KIDNEY, Tissue.SPLEEN, Tissue.BLOOD, Tissue.BONE, Tissue.GAS, Tissue.URINE}
    assert wanted <= set(np.unique(scan.anatomy.tissue))


def test_the_liver_is_at_the_patients_right_and_the_spine_behind(scan):
    tissue = scan.anatomy.tissue
    assert np.median(GRID.in_plane_mm[np.nonzero(tissue == Tissue.LIVER)[2]]) < -30
    assert np.median(GRID.in_plane_mm[np.nonzero(tissue == Tissue.SPLEEN)[2]]) > 60
    assert np.median(GRID.in_plane_mm[np.nonzero(tissue == Tissue.NERVE)[1]]) > 40


def test_a_body_lies_whole_in_the_field_of_view(scan):
    body = ~np.isin(scan.anatomy.tissue, (Tissue.AIR, Tissue.TABLE))
    assert not body[:, :, [0, -1]].any()
    assert not body[:, [0, -1], :].any()


def test_a_normal_patient_has_no_mask_but_often_something_harmless():
    scans = [scan_patient(GRID, None, np.random.default_rng(seed)) for seed in SEEDS]
    assert not any(mask.any() for scan in scans for mask in scan.masks)
    assert {inclusion.kind for scan in scans for inclusion in scan.inclusions} & {"cyst", "calcification"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("lesion", ["stone", "tumour"])
def test_a_patient_with_a_disease_shows_it_in_a_slice_and_shows_no_other(seed, lesion):
    scan = scan_patient(GRID, lesion, np.random.default_rng(seed))
    shown = {one.kind for one, mask in zip(scan.inclusions, scan.masks, strict=True) if mask.any()}
    assert shown == {lesion}


def test_patients_differ_in_size_place_density_and_noise():
    scans = [scan_patient(GRID, None, np.random.default_rng(seed)) for seed in SEEDS]
    body = [np.isin(scan.anatomy.tissue, (Tissue.AIR, Tissue.TABLE), invert=True) for scan in scans]
    assert np.ptp([mask.sum() for mask in body]) > 0.1 * body[0].sum()
    assert np.ptp([ndimage.center_of_mass(mask)[2] for mask in body]) > 1
    assert np.ptp([scan.anatomy.means[Tissue.LIVER] for scan in scans]) > 4
    assert np.ptp([scan.noise_hu for scan in scans]) > 1


def test_noise_has_the_stated_level_and_is_correlated(scan):
    quiet = ndimage.binary_erosion(scan.anatomy.tissue == Tissue.AIR, np.ones((1, 5, 5)))
    air = np.where(quiet, scan.hu + 1000.0, np.nan)
    assert 0.4 * NOISE_HU[0] < np.nanstd(air) < NOISE_HU[1]
    neighbours = np.nanmean(air[:, :, 1:] * air[:, :, :-1]) / np.nanvar(air)
    assert abs(neighbours) > 0.1


def test_lesions_are_drawn_even_into_one_single_slice():
    grid = Grid(128, 1)
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        assert any(one.is_lesion for one in draw_inclusions(abdomen(grid, rng), grid, "tumour", rng))


def test_an_ellipsoid_has_its_volume():
    grid = Grid(128, 40, top_mm=97.5)
    x = np.broadcast_to(grid.in_plane_mm, grid.shape)
    y = np.broadcast_to(grid.in_plane_mm[:, None], grid.shape)
    cover = Space(x, y, grid.z_mm.reshape(-1, 1, 1), grid.spacing_mm).ellipsoid((5, -8, 0), (40, 30, 50), turn=0.5)
    voxel_mm3 = grid.spacing_mm**2 * 5
    assert cover.sum() * voxel_mm3 == pytest.approx(4 / 3 * np.pi * 40 * 30 * 50, rel=0.02)
