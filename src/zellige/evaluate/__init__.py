"""Evaluation: run a tokenizer over a set of images, and show what was found.

reconstruction.py   evaluate(tokenizer, source) → EvalResult
rates.py            rate and distortion beside JPEG, WebP and AVIF (codecs.py)
result.py           the records, and write_json
report.py           write_report: one self-contained HTML file
table.py            the table of the command line
pictures.py         contact_sheet: a PNG of originals, reconstructions, differences
"""

from zellige.evaluate.pictures import contact_sheet
from zellige.evaluate.reconstruction import evaluate
from zellige.evaluate.report import write_report
from zellige.evaluate.result import EvalResult, write_json
from zellige.evaluate.table import table

__all__ = ["EvalResult", "contact_sheet", "evaluate", "table", "write_json", "write_report"]
