"""The page and the HTTP interface of a running line; both need the extra ``service``.

``server.py`` runs them beside a line, ``app.py`` puts them together. Nothing here holds up the
line: what it shows is drawn for few parts a second, and what is asked waits for nobody.
"""
