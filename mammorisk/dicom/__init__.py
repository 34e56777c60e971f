"""Mammograms as the hospital stores them (DICOM), turned into the 16-bit PNGs that models read."""
