"""Board information, read from files that the test writes."""

from __future__ import annotations

from pathlib import Path

from edgepose.device.monitor.board import read_board

FILES = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8\n",
    "proc/meminfo": "MemTotal:        3884432 kB\nMemFree: 5 kB\n",
    "proc/loadavg": "0.52 0.58 0.59 1/100 12345\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
}


def test_a_raspberry_pi_is_recognized_by_its_device_tree(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    board = read_board(tmp_path)
    assert board.name == "Raspberry Pi 4 Model B Rev 1.4"
    assert (board.memory_mb, board.governor, board.temperature_c, board.load) == (3793, "ondemand", 48.312, 0.52)
    assert "48 C" in str(board)


def test_missing_information_is_omitted(tmp_path: Path) -> None:
    board = read_board(tmp_path)
    assert (board.name, board.governor, board.temperature_c, board.memory_mb) == ("", "", None, 0)


def test_this_machine_has_a_core() -> None:
    assert read_board().cores >= 1
