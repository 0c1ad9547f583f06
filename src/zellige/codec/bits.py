"""Bit and byte packing: varints, and integers of any width up to 32 bits, most significant bit first."""

from __future__ import annotations

import numpy as np

from zellige.core.errors import DataError

_BLOCK = 1 << 16  # integers packed at a time: bounds memory, and a multiple of 8 keeps blocks on byte borders


def bit_width(size: int) -> int:
    """Bits of the integers below `size`: ⌈log2 size⌉."""
    return (size - 1).bit_length()


def packed_bytes(count: int, width: int) -> int:
    """Bytes of `count` integers of `width` bits, zero-padded to a byte."""
    return -(-count * width // 8)


def pack(values: np.ndarray, width: int) -> bytes:
    """Non-negative integers (n,) below 2^width as a bit string, MSB first, zero-padded to a byte."""
    parts = []
    for start in range(0, len(values), _BLOCK):
        block = np.ascontiguousarray(values[start : start + _BLOCK], dtype=">u4")
        bits = np.unpackbits(block.view(np.uint8).reshape(-1, 4), axis=1)[:, 32 - width :]
        parts.append(np.packbits(bits.reshape(-1)).tobytes())
    return b"".join(parts)


def unpack(data: bytes, count: int, width: int) -> np.ndarray:
    """Inverse of `pack`: int64 (count,). `data` holds exactly `packed_bytes(count, width)` bytes."""
    out = np.zeros(count, np.int64)
    raw = np.frombuffer(data, np.uint8)
    for start in range(0, count if width else 0, _BLOCK):
        n = min(_BLOCK, count - start)
        first = start * width // 8
        bits = np.unpackbits(raw[first : first + packed_bytes(n, width)])[: n * width].reshape(n, width)
        wide = np.zeros((n, 32), np.uint8)
        wide[:, 32 - width :] = bits
        out[start : start + n] = np.packbits(wide, axis=1).view(">u4")[:, 0]
    return out


def varint(value: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, least significant first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Cursor:
    """Reads forward through bytes; `DataError` instead of reading past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self._data) - self.position:
            raise DataError("the file ends too early: it is truncated or damaged")
        self.position += count
        return self._data[self.position - count : self.position]

    def varint(self, low: int, high: int, what: str) -> int:
        """The next varint, which must lie in [low, high]; `what` names it in the error."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        if not low <= value <= high:
            raise DataError(f"{what} of {value} is outside {low} to {high}: the file is damaged")
        return value
