"""One simulated slice as a DICOM CT Image (PS3.3 A.3) that says in its own header that it is simulated."""

from __future__ import annotations

import uuid

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from overread.data.phantom.space import THICKNESS_MM, Grid

INTERCEPT = -1024
MANUFACTURER = "Overread phantom"
SIMULATED = "SIMULATED image of no patient. Never to be used for diagnosis."
"""What stands in ImageComments (0020,4000) of every file; what is read back is SyntheticData (0008,001C)."""

_UNKNOWN = (
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "ContentDate",
    "ContentTime",
    "PositionReferenceIndicator",
    "KVP",
    "AcquisitionNumber",
)
"""Type 2: present and empty (PS3.5 7.4.3), as nothing was ever examined and nothing is invented."""

_NAMESPACE = uuid.UUID("5b0f6c1e-8d0b-5d5e-9a53-6f7665727264")


def uid_for(*parts: object) -> UID:
    """A UID that is the same for the same parts (PS3.5 B.2: 2.25 and a UUID made from a name)."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(str(part) for part in parts)).int}")


def patient_template(*, patient_id: str, key: str, grid: Grid) -> Dataset:
    """All that the slices of one patient have in common.

    Args:
        patient_id: such as "SIM-0001".
        key: what the UIDs of study, series and frame of reference are made from.
        grid: where the voxels lie.
    """
    ds = Dataset()
    # Not ORIGINAL\PRIMARY: that is kept for what an examination produced (PS3.3 C.7.6.1.1.2).
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.SyntheticData = "YES"
    ds.QualityControlImage = "YES"
    ds.DerivationDescription = "Computed from geometric shapes; SIMULATED"
    ds.ImageComments = SIMULATED
    ds.Modality = "CT"
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = "SIMULATED abdomen"
    ds.StudyDescription = "SIMULATED abdomen"
    ds.SeriesDescription = "SIMULATED abdomen, unenhanced"
    ds.PatientName = f"Simulated^{patient_id}"
    ds.PatientID = patient_id
    ds.StudyInstanceUID = uid_for("study", key)
    ds.SeriesInstanceUID = uid_for("series", key)
    ds.FrameOfReferenceUID = uid_for("frame of reference", key)
    for empty in _UNKNOWN:
        setattr(ds, empty, None)
    ds.StudyID = "1"
    ds.SeriesNumber = 1
    ds.PatientPosition = "HFS"
    ds.BodyPartExamined = "ABDOMEN"
    ds.PixelSpacing = [_decimal(grid.spacing_mm)] * 2
    ds.SliceThickness = THICKNESS_MM
    ds.SpacingBetweenSlices = THICKNESS_MM
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.Rows = ds.Columns = grid.size
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = INTERCEPT, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    return ds


def slice_instance(template: Dataset, hu: NDArray[np.int16], *, index: int, key: str, grid: Grid) -> Dataset:
    """One slice, ready to be written as Explicit VR Little Endian.

    Args:
        template: what `patient_template` made; it is not changed.
        hu: `(row, column)` in [-1024, 3071].
        index: which slice, 0 nearest to the head.
        key: what the SOP Instance UID is made from, with the index.
        grid: where the voxels lie.
    """
    ds = Dataset(template)
    corner, height = _decimal(float(grid.in_plane_mm[0])), _decimal(float(grid.z_mm[index]))
    ds.SOPInstanceUID = uid_for("instance", key, index)
    ds.InstanceNumber = index + 1
    ds.ImagePositionPatient = [corner, corner, height]
    ds.SliceLocation = height
    ds.add_new("PixelData", "OW", (hu.astype(np.int32) - INTERCEPT).astype("<u2").tobytes())
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid_for("implementation")
    meta.ImplementationVersionName = "OVERREAD"
    ds.file_meta = meta
    return ds


def _decimal(value_mm: float) -> float:
    """A number short enough for a Decimal String, which has 16 characters (PS3.5 6.2)."""
    return round(value_mm, 4)
