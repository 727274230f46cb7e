"""Domains that are made when the first packet for them arrives."""
