"""Prediction: risks of exams without outcomes, from a CSV, a data frame or DICOM files."""
