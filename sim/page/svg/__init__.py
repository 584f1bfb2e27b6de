"""Figures as SVG text: a canvas, scales, a frame with axes, and one file per kind of drawing.

Drawings hold no colours, fonts or style attributes: they name classes, and the page's style sheet gives these their
look on screen in light and dark, and on paper. Every drawing exists twice, wide and narrow, so that its text is
readable on a phone.
"""
