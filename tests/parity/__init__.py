"""Golden cases of the official implementations against ours: ``python -m tests.parity CASE.npz…``.

A case holds a configuration, inputs and outputs of an official class, but no weights: both sides
draw each weight from its official name (`draw`). A handler (`handlers/`) builds our model from the
case's configuration, fills it through `zellige.convert`, and checks every output array.
"""
