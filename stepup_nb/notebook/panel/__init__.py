"""The live panel: pools as lanes, steps, timeline, graph and log, drawn in the browser from numbered messages.

`feed` says what the browser is told, `logs` follows outputs, `live` sends at the publisher's pace, `controls`
carries out what was clicked, `widget` is the model that ipywidgets knows, `source` the code for the browser (from
``js/`` and ``css/``), and `static` the pictures for where nothing is live.
"""
