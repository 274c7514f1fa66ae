"""Layer of an OpenVINO IR, as it is in the XML file."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # nosec B405
from dataclasses import dataclass
from typing import Any

Sides = tuple[int | None, ...]
"""Dimensions of a tensor; None for those that can change."""


class UnsupportedLayerError(Exception):
    """Layer that cannot be imported; an error for the user only if a chosen output needs it.

    Attributes:
        maps: Feature maps that the layer reads.
    """

    maps: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Layer:
    """Layer of an IR.

    Attributes:
        name: Name, unique in files of OpenVINO.
        kind: Type, such as `Convolution`.
        version: Number of the operation set.
        attributes: Attributes of the element `data`.
        input_sides: Dimensions of each input.
        output_sides: Dimensions of each output.
        output_ports: Names of the tensor of each output, by port ID.
        result_names: Names of the tensor that a Result reads.
    """

    name: str
    kind: str
    version: int
    attributes: dict[str, str]
    input_sides: tuple[Sides, ...]
    output_sides: tuple[Sides, ...]
    output_ports: dict[int, tuple[str, ...]]
    result_names: tuple[str, ...]

    @property
    def label(self) -> str:
        """Name for messages."""
        return f"layer {self.name!r}"

    @classmethod
    def parse(cls, element: ET.Element) -> Layer:
        """Parse a layer.

        Raises:
            ValueError: A number is not an integer.
        """
        data = element.find("data")
        outputs = element.findall("output/port")
        names = {int(str(port.get("id"))): tuple(port.get("names", "").split(",")) for port in outputs}
        return cls(
            name=str(element.get("name")),
            kind=str(element.get("type")),
            version=int(str(element.get("version", "opset1")).removeprefix("opset")),
            attributes={} if data is None else dict(data.attrib),
            input_sides=tuple(_read_sides(port) for port in element.findall("input/port")),
            output_sides=tuple(_read_sides(port) for port in outputs),
            # A file can leave out the output of a layer that has only one.
            output_ports=names or {0: ()},
            result_names=tuple(element.get("output_names", "").split(",")),
        )

    def read_pair(self, attribute: str, default: str | None = None) -> tuple[int, int]:
        """Read an attribute with a value for height and for width."""
        text = self.attributes[attribute] if default is None else self.attributes.get(attribute, default)
        height, width = parse_integers(text)
        return height, width

    def is_set(self, attribute: str, *, default: bool = False) -> bool:
        """Read a boolean attribute."""
        return self.attributes.get(attribute, str(default)).lower() in ("true", "1")


def parse_integers(text: str) -> tuple[int, ...]:
    """Parse integers that are separated by commas."""
    return tuple(int(part) for part in text.split(",") if part.strip())


def parse_sides(text: str) -> Sides:
    """Parse the shape of a Parameter, such as `1,3,256,456`; a side that can change is `?`, `-1` or a range `1..8`."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(int(part) if part.isdigit() else None for part in parts)


def _read_sides(port: ET.Element) -> Sides:
    sides = (int(str(dim.text)) for dim in port.findall("dim"))
    return tuple(side if side >= 0 else None for side in sides)
