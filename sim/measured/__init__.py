"""WHAT WAS MEASURED on real servers: read, played again, compared, and constants fitted to it.

`readers/` turn files into operating points (`points`) of a server that the command line describes (`described_server`)
and into measured runs (`measured_run`) that say what they ran on (`stated`): rows with their servers
(`operating_points`), runs with load stages (`staged_runs`), logs of requests (`logged_runs`). A run is played as an
ordinary Scenario (`server`), a point by a load generator in front of one replica (`play`); `prediction` sets simulated
beside measured. `fit` moves the `constants` of a GPU and an engine until points agree: `closed_form` is what it
differentiates, `what_points_tell` refuses points that are impossible or decide nothing, `overlay` writes the result as
YAML, `calibration_tables` print it.
"""
