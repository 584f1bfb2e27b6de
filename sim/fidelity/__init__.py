"""Fidelity: measured runs of real servers, played again and set beside what was measured."""
