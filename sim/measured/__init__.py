"""WHAT WAS MEASURED on real servers: read, played again, compared, and constants fitted to it.

`readers/` turn files into operating points (`points`) of a server that the command line describes (`described_server`)
and into measured runs (`measured_run`) that say what they ran on (`stated`, `stated_server`, `number_formats`): rows
with their servers (`operating_points`), runs with load stages (`staged_runs`), logs of requests (`logged_runs`). Either
way it is one `server`. A run is played as an ordinary scenario, a point by a load generator in front of one replica
(`play`); `client_metrics` are what clients would have measured, and `prediction` sets them beside what was measured.
`fit` moves the `constants` of a GPU and an engine until points agree: `closed_form` is what it differentiates,
`what_points_tell` refuses points that are impossible or decide nothing, `overlay` writes the result as YAML, and
`calibration_tables` print it. `model_error` says of a card how far off the nearest measured runs were. `calibration`
and `predict` are the two whole jobs; `server_flags` is what their command lines share.
"""
