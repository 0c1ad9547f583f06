"""What latent perturbation buys a small tokenizer (RobustTok, arXiv 2503.08354).

`python -m studies.robusttok --data FOLDER` trains pairs of tokenizers, alike but for the technique, and measures the
Fréchet distance of their reconstructions, clean and from perturbed codes. Asked for: the perturbed distance falls by
a quarter or more, and the clean one rises by no more than a fifth.

Runs and figures are kept in the work folder: what is finished is not done again, what was interrupted goes on.
"""
