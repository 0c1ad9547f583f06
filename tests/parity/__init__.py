"""Golden cases of the official implementations against ours: ``python -m tests.parity CASE.npz…``.

A case holds a configuration, inputs and outputs of an official class, but no weights: both sides
draw each weight from its official name (`draw`). A handler (`handlers/`) builds our model from the
case's configuration, fills it through `zellige.convert`, and checks every output array.

To add a family: a module in `handlers/` with a function of a `Case`, decorated with what its meta
looks like. It reads inputs (`case.read`) and checks outputs (`case.check`, `case.check_ids`);
configuration comes from ``meta["config"]`` and sizes from the arrays, never from one known case.
"""
