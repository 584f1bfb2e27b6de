"""`python -m tests.face_examples`: runs the example of every public name and prints what went wrong.

A process of its own, as the examples define policies, which would count as kinds in every test that came after.
"""

from __future__ import annotations

import doctest
import sys
from importlib import import_module

import sim


def main() -> int:
    """0 if every public name has an example and all examples work."""
    n_wrong = 0
    for name in sim.__all__:
        documented = getattr(sim, name)
        names = vars(import_module(documented.__module__)) | {"__name__": "__main__"}
        example = doctest.DocTestParser().get_doctest(documented.__doc__ or "", dict(names), name, name, 0)
        ran = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
        if not ran.attempted:
            print(f"{name}: has no example")
        n_wrong += ran.failed + (not ran.attempted)
    return int(n_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
