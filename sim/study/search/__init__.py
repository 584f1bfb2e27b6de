"""Search for the cheapest fleet that meets an SLO, by far fewer simulations than a full grid.

`evidence` plays and judges, `family` bisects a ladder of replica counts, `race` compares the best of each family and
plays finalists on fresh seeds, `lab` plays scenarios and keeps what is played, `plan` asks over keys of a scenario.
"""
