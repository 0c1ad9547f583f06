"""`zellige eval`."""


def run() -> None:
    """x"""
