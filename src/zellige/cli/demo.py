"""`zellige demo`."""


def run() -> None:
    """x"""
