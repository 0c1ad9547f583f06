"""``python -m tests.parity CASE.npz…``: a line an array, then ``N passed, N failed``."""

from __future__ import annotations

import sys

from tests.parity.runner import run


def main(paths: list[str]) -> int:
    """Check the cases; 0 if all passed, 1 if one failed, 2 if there is nothing to check."""
    if not paths:
        print("usage: python -m tests.parity CASE.npz…", file=sys.stderr)
        return 2
    passed = 0
    for path in paths:
        ok, lines = run(path)
        passed += ok
        print(path)
        for line in lines:
            print(f"  {line.name:<20} {line.text:<40} {'ok' if line.ok else 'FAIL'}", flush=True)
    print(f"{passed} passed, {len(paths) - passed} failed")
    return 0 if passed == len(paths) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
