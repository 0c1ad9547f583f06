"""Evaluation: run a tokenizer over a set of images, or a generator beside one, and show what was found.

reconstruction.py   evaluate(tokenizer, source) → EvalResult
rates.py            rate and distortion beside JPEG, WebP and AVIF (codecs.py)
selection.py        metrics by name, and those whose weights are missing
patches.py          Fréchet distance over crops
pfid.py             PerturbationStudy: pFID within that pass; robustness.py has it in words
stored.py           tokens that were made before, beside their images
lineup.py           tokenizers side by side: line_up, write_lineup; lineup_report.py has their page
generation.py       evaluate_generator(images, source) → GenerationResult; generation_report.py has its page
result.py           the records, and write_json
compare.py          compare: two results, if they were measured alike
report.py           write_report: one self-contained HTML file
table.py            the table of the command line
pictures.py         contact_sheet: a PNG of originals, reconstructions, differences
"""

from zellige.evaluate.compare import compare
from zellige.evaluate.generation import GenerationResult, evaluate_generator
from zellige.evaluate.pictures import contact_sheet
from zellige.evaluate.reconstruction import evaluate
from zellige.evaluate.report import write_report
from zellige.evaluate.result import EvalResult, write_json
from zellige.evaluate.table import table

__all__ = [
    "EvalResult",
    "GenerationResult",
    "compare",
    "contact_sheet",
    "evaluate",
    "evaluate_generator",
    "table",
    "write_json",
    "write_report",
]
