"""Trains a small network of the family to see what a strong one sees: function-matching distillation.

Beyer et al., "Knowledge distillation: A good teacher is patient and consistent" (2022): teacher and student look at the
same strongly changed view of an image, over a long schedule.
"""
