"""Device facts and readings, from made-up file systems: what is there is read, what is absent is None."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.report.device import Device, Reading, rss_slope_mb_per_hour


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def nothing(command: str) -> None:
    return None


PI = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/cpuinfo": "processor\t: 0\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq": "1500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1800000\n",
    "sys/class/thermal/thermal_zone0/temp": "61300\n",
    "sys/class/thermal/thermal_zone1/temp": "48000\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
}
JETSON = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 3.0, GCID: 36923193, BOARD: generic, EABI: aarch64\n",
    "var/lib/nvpmodel/status": "pmode:0001\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=7W >\n",
    "sys/devices/platform/bus@0/17000000.gpu/load": "437\n",
}


def test_a_raspberry_pi_tells_model_governor_clock_and_heat(tmp_path: Path) -> None:
    device = Device(machine(tmp_path, PI), query=nothing)
    facts, reading = device.facts(), device.read()
    assert facts.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert facts.os == "Debian GNU/Linux 12 (bookworm)"
    assert (facts.governor, facts.cpu_mhz_min, facts.cpu_mhz_max) == ("ondemand", 1500, 2400)
    assert reading.temperature_c == pytest.approx(61.3)
    assert reading.cpu_mhz == 1800  # the slowest core
    assert reading.throttled == ("under-voltage", "throttled")  # bits 0 and 2; 16 and 18 tell of the past


def test_the_firmware_is_asked_by_command_where_sysfs_is_silent(tmp_path: Path) -> None:
    device = Device(tmp_path, query=lambda command: "throttled=0x2\n")
    assert device.read().throttled == ("frequency capped",)
    assert Device(tmp_path, query=lambda command: "throttled=0x0\n").read().throttled == ()


def test_a_jetson_tells_release_power_mode_and_gpu_load(tmp_path: Path) -> None:
    device = Device(machine(tmp_path, JETSON), query=nothing)
    facts = device.facts()
    assert (facts.l4t, facts.power_mode) == ("R36.3.0", "1 (7W)")
    assert device.read().gpu_percent == pytest.approx(43.7)


def test_a_throttle_counter_that_rises_means_throttled_since_the_last_look(tmp_path: Path) -> None:
    counter = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    device = Device(machine(tmp_path, {counter: "7"}), query=nothing)
    assert device.read().throttled == ()
    machine(tmp_path, {counter: "9"})
    assert device.read().throttled == ("thermal",)
    assert device.read().throttled == ()


def test_what_a_device_does_not_tell_is_none_and_never_invented(tmp_path: Path) -> None:
    """Shows that on an empty file system every sensor is None, not zero."""
    device = Device(tmp_path, query=nothing)
    facts, reading = device.facts(), device.read()
    assert (facts.model, facts.cpu, facts.os, facts.governor, facts.cpu_mhz_max, facts.l4t, facts.power_mode) == (
        None,
    ) * 7
    assert (reading.temperature_c, reading.cpu_mhz, reading.throttled, reading.gpu_percent) == (None,) * 4
    assert reading.rss_mb > 1


def test_a_sensor_that_talks_nonsense_is_none(tmp_path: Path) -> None:
    files = {"sys/class/thermal/thermal_zone0/temp": "N/A", "var/lib/nvpmodel/status": "?"}
    device = Device(machine(tmp_path, files), query=nothing)
    assert device.read().temperature_c is None
    assert device.facts().power_mode is None


def test_this_process_is_told_apart_from_the_others(tmp_path: Path) -> None:
    """Shows that work done here counts as ours: at most all cores, and rates are since the look before."""
    device = Device(tmp_path, query=nothing)
    sum(i * i for i in range(3_000_000))
    reading = device.read()
    assert 0 < reading.cpu_percent <= 110
    assert reading.other_percent >= 0
    assert reading.t_s > 0


def test_a_leak_shows_as_a_slope_and_a_full_buffer_does_not() -> None:
    """Shows that 1 MB a minute is 60 MB an hour, and that growth in the first half (buffers filling) is no leak."""

    def readings(rss_mb: list[float]) -> list[Reading]:
        return [Reading(60.0 * i, None, None, None, None, 0, 0, mb) for i, mb in enumerate(rss_mb)]

    assert rss_slope_mb_per_hour(readings([100.0 + i for i in range(20)])) == pytest.approx(60)
    assert rss_slope_mb_per_hour(readings([50.0 + 5 * i for i in range(10)] + [100.0] * 10)) == pytest.approx(0)
    assert rss_slope_mb_per_hour(readings([100.0] * 6)) is None
