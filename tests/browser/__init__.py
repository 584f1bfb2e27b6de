"""Pages in a real browser: Debian's Chromium, driven by its own DevTools protocol, with the network off.

axe-core (4.14.1, MPL-2.0, unchanged, packed by gzip) lies in axe/, so that the test needs no registry; its hash is
checked.
"""
