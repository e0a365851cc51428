"""``stepup.core.nglob``: what `glob` returns."""

from stepup_nb.core.nglob import NGlobMatch, NGlobMulti

__all__ = ["NGlobMatch", "NGlobMulti"]
