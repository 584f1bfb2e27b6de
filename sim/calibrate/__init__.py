"""Calibrate to your own server: benchmark results in, a GPU of your own out.

`readers` turns results into operating points, `design` refuses those that say too little, `balance` predicts a point in
closed form and `play` by the simulator, `fit` moves the few constants, `overlay` writes them as YAML.
"""
