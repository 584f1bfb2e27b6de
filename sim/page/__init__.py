"""ONE SELF-CONTAINED HTML FILE for a decision, a sweep, a run or a log, drawn from what is saved in its folder.

`write.py` finds out what a folder holds; `saved/` reads it through typed doors; every file of `sections/` makes one
section, in the order of the page; `svg/` draws its figures; `render.py` fills the template. A page runs no code but its
own: its content security policy names the hashes of its style and its script, and forbids everything else.
"""
