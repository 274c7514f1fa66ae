"""Which modules the Python of the current release can import, as one JSON object of module and error on stdout.

`edgepose doctor` runs this file as the service user in the service's sandbox: an import executes code.
"""

from __future__ import annotations

import importlib
import json

MODULES = (
    "numpy",
    "cv2",
    "ai_edge_litert.interpreter",
    "tflite_runtime.interpreter",
    "edgepose.runtime",
    "picamera2",
)


def main() -> None:
    """Print it."""
    found = {}
    for module in MODULES:
        try:
            importlib.import_module(module)
        except BaseException as error:
            lines = f"{type(error).__name__}: {error}".splitlines()
            found[module] = lines[-1][:300]
        else:
            found[module] = ""
    print(json.dumps(found))


if __name__ == "__main__":
    main()
