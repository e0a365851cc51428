"""A build tool that lives with a Jupyter notebook: the notebook is the plan, its kernel has a director."""

__version__ = "0.1.0"
