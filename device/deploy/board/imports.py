"""Import check: prints which modules the Python of the current release can import.

The output is one JSON object of module and error on stdout; the error is empty if the import works. `edgepose doctor`
runs this file as the service user in the sandbox of the service, because an import executes code. This file is sent to
the board and uses only the standard library.
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
    "av",
    "picamera2",
)


def main() -> None:
    """Import the modules and print the errors as JSON."""
    errors = {}
    for module in MODULES:
        try:
            importlib.import_module(module)
        except BaseException as error:
            lines = f"{type(error).__name__}: {error}".splitlines()
            errors[module] = lines[-1][:300]
        else:
            errors[module] = ""
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
