"""What the device is and how it fares: facts once, readings while a run goes on.

A latency without its circumstances is a rumour: a Raspberry Pi that throttles at 80 °C runs at half its clock. All of
it is read from files under ``root`` (which a test replaces) and from psutil; what a device does not tell is None, never
a guess.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

LIBRARIES = ("onnxruntime", "numpy", "opencv-python-headless", "onnx", "psutil")

# vcgencmd get_throttled, Raspberry Pi firmware: the low bits tell of now, the same 16 higher of since boot.
_PI_FLAGS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}

Query = Callable[[str], str | None]
"""Runs a command line and gives its output, None when there is no such command."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change during a run; None where the device does not tell."""

    model: str | None  # board or machine
    cpu: str | None
    machine: str  # architecture
    cores: int
    memory_mb: int
    os: str | None
    kernel: str
    python: str
    libraries: dict[str, str]
    governor: str | None
    cpu_mhz_min: float | None
    cpu_mhz_max: float | None
    l4t: str | None  # NVIDIA Jetson's release
    power_mode: str | None  # NVIDIA Jetson's nvpmodel


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the device, ``t_s`` seconds into the run; rates are since the look before."""

    t_s: float
    temperature_c: float | None  # the hottest zone
    cpu_mhz: float | None  # the slowest core's
    throttled: tuple[str, ...] | None  # what holds the clock down now; () is a clean bill
    gpu_percent: float | None
    cpu_percent: float  # of all cores, by this process
    other_percent: float  # of all cores, by everybody else; time stolen by a hypervisor too
    rss_mb: float


class Device:
    """The device under ``root``; `read` remembers the look before, for rates."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        query: Query | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._root = root
        self._query = query or _run
        self._clock = clock
        self._process = psutil.Process()
        self._begun_ns = clock()
        # Looked for once: a search of sysfs takes longer than all readings.
        self._zones = sorted(root.glob("sys/class/thermal/thermal_zone*/temp"))
        self._clocks = sorted(root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"))
        self._gpus = [*root.glob("sys/devices/gpu.0/load"), *root.glob("sys/devices/platform/**/*gpu*/load")]
        self._pi_files = list(root.glob("sys/devices/platform/soc*/*firmware/get_throttled"))
        self._x86_files = list(root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count"))
        self._asks_pi = self._pi_flags() is not None
        self._throttle_count = self._x86_throttle_count()
        self._before = self._times()

    def facts(self) -> Facts:
        cpufreq = self._root / "sys/devices/system/cpu/cpu0/cpufreq"
        return Facts(
            model=_text(self._root / "proc/device-tree/model") or _text(self._root / "sys/class/dmi/id/product_name"),
            cpu=self._cpu_name(),
            machine=platform.machine(),
            cores=os.cpu_count() or 1,
            memory_mb=psutil.virtual_memory().total >> 20,
            os=_match(_text(self._root / "etc/os-release"), r'^PRETTY_NAME="?(.*?)"?$'),
            kernel=platform.release(),
            python=platform.python_version(),
            libraries=_libraries(),
            governor=_text(cpufreq / "scaling_governor"),
            cpu_mhz_min=_scaled(cpufreq / "scaling_min_freq", 1e-3),
            cpu_mhz_max=_scaled(cpufreq / "cpuinfo_max_freq", 1e-3),
            l4t=self._l4t(),
            power_mode=self._power_mode(),
        )

    def read(self) -> Reading:
        """A look now: about 1 ms, so once a second and never on the inference thread."""
        before, self._before = self._before, self._times()
        elapsed, busy, own = (now - then for now, then in zip(self._before, before, strict=True))
        scale = 100 / (elapsed * (os.cpu_count() or 1)) if elapsed > 0 else 0.0
        return Reading(
            t_s=(self._clock() - self._begun_ns) / 1e9,
            temperature_c=max(_each(self._zones, 1e-3), default=None),
            cpu_mhz=min(_each(self._clocks, 1e-3), default=None),
            throttled=self._throttled(),
            gpu_percent=max(_each(self._gpus, 0.1), default=None),
            cpu_percent=_percent(own * scale),
            other_percent=_percent((busy - own) * scale),
            rss_mb=self._process.memory_info().rss / 2**20,
        )

    def _times(self) -> tuple[float, float, float]:
        """Seconds: the clock, all cores' busy time, this process's."""
        cpu = psutil.cpu_times()
        idle = cpu.idle + getattr(cpu, "iowait", 0.0)
        counted_twice = getattr(cpu, "guest", 0.0) + getattr(cpu, "guest_nice", 0.0)  # is in user time too
        own = self._process.cpu_times()
        return self._clock() / 1e9, sum(cpu) - idle - counted_twice, own.user + own.system

    def _cpu_name(self) -> str | None:
        text = _text(self._root / "proc/cpuinfo")
        return _match(text, r"^model name\s*:\s*(.+)$") or _match(text, r"^(?:Hardware|Model)\s*:\s*(.+)$")

    def _throttled(self) -> tuple[str, ...] | None:
        if self._asks_pi:
            flags = self._pi_flags()
            return None if flags is None else tuple(name for bit, name in _PI_FLAGS.items() if flags >> bit & 1)
        if self._throttle_count is None:
            return None
        before, self._throttle_count = self._throttle_count, self._x86_throttle_count()
        return ("thermal",) if (self._throttle_count or 0) > before else ()

    def _pi_flags(self) -> int | None:
        """The firmware's bits: from sysfs where the kernel has them there, else by its own command."""
        text = _text(self._pi_files[0]) if self._pi_files else self._query("vcgencmd get_throttled")
        return _hexadecimal(text)

    def _x86_throttle_count(self) -> int | None:
        counts = _each(self._x86_files, 1)
        return int(max(counts)) if counts else None

    def _l4t(self) -> str | None:
        found = re.match(r"# (R\d+).*?REVISION: ([\d.]+)", _text(self._root / "etc/nv_tegra_release") or "")
        return f"{found[1]}.{found[2]}" if found else None

    def _power_mode(self) -> str | None:
        mode = _match(_text(self._root / "var/lib/nvpmodel/status"), r"pmode:0*(\d+)")
        if mode is None:
            return None
        name = _match(_text(self._root / "etc/nvpmodel.conf"), rf"POWER_MODEL\s+ID={mode}\s+NAME=(\S+)")
        return f"{mode} ({name})" if name else mode


def rss_slope_mb_per_hour(readings: list[Reading]) -> float | None:
    """Least-squares slope of memory over the second half of a run: a leak, once buffers have filled. None below 5."""
    late = readings[len(readings) // 2 :]
    if len(late) < 5:
        return None
    mean_t = sum(r.t_s for r in late) / len(late)
    mean_rss = sum(r.rss_mb for r in late) / len(late)
    spread = sum((r.t_s - mean_t) ** 2 for r in late)
    return 3600 * sum((r.t_s - mean_t) * (r.rss_mb - mean_rss) for r in late) / spread if spread else None


def _run(command: str) -> str | None:
    try:
        done = subprocess.run(command.split(), capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # a vendor's build under another name (onnxruntime-gpu, a distribution's OpenCV)
    return found


def _text(path: Path) -> str | None:
    """A file's text, None when absent, unreadable or empty. Sensors vanish and refuse; that is no fault of the run."""
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _scaled(path: Path, scale: float) -> float | None:
    text = _text(path)
    try:
        return float(text) * scale if text else None
    except ValueError:
        return None


def _each(paths: list[Path], scale: float) -> list[float]:
    values = (_scaled(path, scale) for path in paths)
    return [value for value in values if value is not None]


def _percent(value: float) -> float:
    """The clocks that a rate is made of tick in hundredths: it may come out a little below 0 or above 100."""
    return min(max(value, 0.0), 100.0)


def _hexadecimal(text: str | None) -> int | None:
    found = re.search(r"(?:0x)?([0-9a-fA-F]+)\s*$", text) if text else None
    return int(found[1], 16) if found else None


def _match(text: str | None, pattern: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE) if text else None
    return found[1].strip() if found else None
