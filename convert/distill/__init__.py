"""Knowledge distillation: a small student network is trained to reproduce the maps of a strong teacher network.

Function matching of Beyer et al., "Knowledge distillation: A good teacher is patient and consistent" (2022): teacher
and student get the same strongly augmented view of an image, over a long schedule.
"""
