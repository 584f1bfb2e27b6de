"""WHAT WE SAY: metrics of one run, intervals over replications, tables and figures. Reads tables; simulates nothing."""
