"""What a plan script, or a step it declares, calls besides the primitives of `stepup_nb.api`.

These modules are imported in the user's processes, perhaps by an interpreter that is not the kernel's: the
standard library alone at import, nothing slow, and nothing of the director or the notebook. What StepUp
3.0.0 does is the measure; where it is plainly a mistake, the docstring says what is done instead.
"""
