"""What is wrong with a part of a configuration, before anybody knows where that stands."""


class Refusal(Exception):
    """Something that is not supported, or makes no sense."""
