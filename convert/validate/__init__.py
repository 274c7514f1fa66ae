"""Verification of a converted model: errors of its maps, agreement of its poses with the source, COCO AP."""
