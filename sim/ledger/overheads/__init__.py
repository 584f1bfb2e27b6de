"""WHAT COMES ON TOP of GPUs and tokens: people, networks, everything else."""
