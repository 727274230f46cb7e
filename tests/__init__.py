"""Tests of LightVM."""
