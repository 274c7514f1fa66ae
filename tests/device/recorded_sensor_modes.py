"""Sensor modes of Raspberry Pi cameras, in the form of Picamera2's `sensor_modes`.

Sources: lists that owners of the cameras published, sizes, frame rates and crops only.

- IMX219: https://github.com/raspberrypi/picamera2/issues/683
- IMX477: https://github.com/raspberrypi/picamera2/issues/301
- IMX708: https://github.com/raspberrypi/libcamera/issues/68
- IMX708 wide: https://github.com/raspberrypi/rpicam-apps/issues/533
- IMX296: https://github.com/AllskyTeam/allsky/issues/3632
- OV5647: https://github.com/raspberrypi/rpicam-apps/issues/427
"""

from __future__ import annotations

from typing import Any

_Row = tuple[str, int, tuple[int, int], float, tuple[int, int, int, int]]

_IMX219: list[_Row] = [
    (name, depth, size, fps, crop)
    for name, depth in (("SRGGB10_CSI2P", 10), ("SRGGB8", 8))
    for size, fps, crop in (
        ((640, 480), 103.33, (1000, 752, 1280, 960)), ((1640, 1232), 41.85, (0, 0, 3280, 2464)),
        ((1920, 1080), 47.57, (680, 692, 1920, 1080)), ((3280, 2464), 21.19, (0, 0, 3280, 2464)),
    )
]  # fmt: skip
_IMX708: list[_Row] = [
    ("SRGGB10_CSI2P", 10, (1536, 864), 120.13, (768, 432, 3072, 1728)),
    ("SRGGB10_CSI2P", 10, (2304, 1296), 56.03, (0, 0, 4608, 2592)),
    ("SRGGB10_CSI2P", 10, (4608, 2592), 14.35, (0, 0, 4608, 2592)),
]
_ROWS: dict[str, list[_Row]] = {
    "imx219": _IMX219,
    "imx477": [
        ("SRGGB10_CSI2P", 10, (1332, 990), 120.05, (696, 528, 2664, 1980)),
        ("SRGGB12_CSI2P", 12, (2028, 1080), 50.03, (0, 440, 4056, 2160)),
        ("SRGGB12_CSI2P", 12, (2028, 1520), 40.01, (0, 0, 4056, 3040)),
        ("SRGGB12_CSI2P", 12, (4056, 3040), 10.0, (0, 0, 4056, 3040)),
    ],
    "imx708": _IMX708,
    "imx708_wide": _IMX708,
    "imx296": [("SRGGB10_CSI2P", 10, (1456, 1088), 60.38, (0, 0, 1456, 1088))],
    "ov5647": [
        ("SGBRG10_CSI2P", 10, (640, 480), 58.92, (16, 0, 2560, 1920)),
        ("SGBRG10_CSI2P", 10, (1296, 972), 43.25, (0, 0, 2592, 1944)),
        ("SGBRG10_CSI2P", 10, (1920, 1080), 30.62, (348, 434, 1928, 1080)),
        ("SGBRG10_CSI2P", 10, (2592, 1944), 15.63, (0, 0, 2592, 1944)),
    ],
}
SENSOR_MODES: dict[str, list[dict[str, Any]]] = {
    sensor: [
        {"format": name, "unpacked": name.partition("_")[0], "bit_depth": depth, "size": size, "fps": fps,
         "crop_limits": crop, "exposure_limits": (75, 11766829, None)}
        for name, depth, size, fps, crop in rows
    ]
    for sensor, rows in _ROWS.items()
}  # fmt: skip
"""`Picamera2.sensor_modes` by sensor."""

LISTING = """\
Available cameras
-----------------
0 : imx219 [3280x2464 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx219@10)
    Modes: 'SRGGB10_CSI2P' : 640x480 [103.33 fps - (1000, 752)/1280x960 crop]
                             1640x1232 [41.85 fps - (0, 0)/3280x2464 crop]
                             1920x1080 [47.57 fps - (680, 692)/1920x1080 crop]
                             3280x2464 [21.19 fps - (0, 0)/3280x2464 crop]
           'SRGGB8' : 640x480 [103.33 fps - (1000, 752)/1280x960 crop]
                      1640x1232 [41.85 fps - (0, 0)/3280x2464 crop]
                      1920x1080 [47.57 fps - (680, 692)/1920x1080 crop]
                      3280x2464 [21.19 fps - (0, 0)/3280x2464 crop]

1 : imx708_wide [4608x2592] (/base/soc/i2c0mux/i2c@0/imx708@1a)
    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
                             2304x1296 [56.03 fps - (0, 0)/4608x2592 crop]
                             4608x2592 [14.35 fps - (0, 0)/4608x2592 crop]

"""
"""Output of `rpicam-hello --list-cameras` with two cameras."""
