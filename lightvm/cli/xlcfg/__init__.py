"""Configurations of xl (xl.cfg(5)): what is in them becomes a request, or is refused by name; nothing is ignored."""
