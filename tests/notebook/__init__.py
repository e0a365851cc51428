"""A package by name, because Jupyter has one called `notebook` too, which would be found in this one's place."""
