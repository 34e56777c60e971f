"""Conversion of DICOM mammograms to the 16-bit PNGs that models read."""
