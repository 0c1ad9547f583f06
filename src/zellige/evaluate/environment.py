"""The machine and the versions that a figure was measured with."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path

import PIL
import torch

import zellige


def environment(device: torch.device) -> dict[str, str]:
    """Name → value of what belongs beside a report: versions, hardware, threads, date (UTC)."""
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "zellige": zellige.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pillow": PIL.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": cpu_name(),
        "threads": str(torch.get_num_threads()),
        "device": str(device),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def hardware(device: torch.device) -> str:
    """The hardware that a speed depends on, in a few words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    where = cpu_name() if device.type == "cpu" else f"{device.type} of {cpu_name()}"
    return f"{where}, {threads} thread{'s' * (threads > 1)}"


def cpu_name() -> str:
    """Model name of the processor, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()
