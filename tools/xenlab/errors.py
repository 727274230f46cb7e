"""Errors of the lab: one class, told apart by a stable code."""


class LabError(Exception):
    """Something the lab could not do; `code` is stable, `message` is one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
