"""The machine: random actions on a real server, stopped and killed at will, under rules that always hold.

`actions` are what may happen, as data. `author` is what the stand-in for Claude writes, `server` the line to the
server, `reader` somebody who reads a stream. `world` does the actions and notes what is promised; `store` looks at the
database from outside, `rules` are what must be so there, and `judge` holds everything against each other.
"""
