"""Conversion constants. Inside the program, times are in seconds, lengths in tokens, sizes in bytes."""

MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86_400.0
WEEK_S = 604_800.0
MONTH_S = 730.0 * HOUR_S  # month of a cloud bill: 8760 h / 12
MTOK = 1_000_000.0
GB = 1e9
