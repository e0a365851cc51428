"""Shows: IPython magics, records, and everything else that a person sees in a notebook."""
