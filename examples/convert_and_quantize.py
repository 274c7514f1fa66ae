"""Convert a published network to int8: python convert_and_quantize.py images/ thin-int8.tflite

Needs the extra `convert`. `images/` is a folder with a few dozen photographs of people, used for calibration.
"""

import sys

import edgepose

conversion = edgepose.convert_model(
    "mobilenet_thin", sys.argv[2], precision="int8", input_size="256x192", stages=3, calibration=sys.argv[1], note=print
)
print(f"written: {conversion.path}, {conversion.path.stat().st_size / 1e6:.1f} MB")
for line in conversion.verdict.format_lines():
    print(line)
