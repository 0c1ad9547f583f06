"""Masked generation at small scale: ENAT (arXiv 2411.06959) and MaskGIT (arXiv 2202.04200).

`python -m studies.enat --data FOLDER` trains small masked generators for as many floating-point operations each, on
CIFAR-10 as 64 patches of 4×4 pixels, each the nearest of 256 k-means centres. Asked for: compute for tokens that are
seen serves better than compute for masked ones; reusing features costs almost nothing; more steps, and an order by
confidence, draw better samples.

Runs and figures are kept in the work folder: what is finished is not done again, what was interrupted goes on.
"""
