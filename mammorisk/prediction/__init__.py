"""Risks of exams without outcomes: from a checkpoint and a table, a data frame, or DICOM files."""
