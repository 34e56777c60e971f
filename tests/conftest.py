"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture
def said(caplog, monkeypatch):
    """Give the messages that mammorisk has logged, a line each."""
    monkeypatch.setattr(logging.getLogger("mammorisk"), "propagate", True)
    caplog.set_level(logging.INFO, logger="mammorisk")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)
