"""Images as short sequences at small scale (TiTok, arXiv 2406.07550).

`python -m studies.titok --data FOLDER` trains small tokenizers of 8, 16 and 32 tokens and a two-dimensional one of as
many bits; one in two stages, with the codes of a teacher first; and a masked generator of its tokens. Asked for: the
error falls with the tokens and is below that of the grid; the first stage learns the teacher's codes and the second
betters its pictures; guidance makes samples easier to classify, and eight steps draw better ones than one.

Runs and figures are kept in the work folder: what is finished is not done again, what was interrupted goes on.
"""
