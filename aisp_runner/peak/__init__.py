"""What this machine can do at most, measured: bandwidths, arithmetic, launches. `aisp peak` measures and stores it; the judge
reads it to say which share of a ceiling a kernel reaches, and which times no kernel can reach.

cuda.py and cpu.py measure, and import torch where they do. Everything the judge uses (store, roofline, datasheet) does without.
"""
