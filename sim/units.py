"""The only conversion constants. Inside the program everything is seconds, tokens and bytes."""

MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86_400.0
WEEK_S = 604_800.0
MONTH_S = 730.0 * HOUR_S  # the cloud bill's month: 8760 h / 12
MTOK = 1_000_000.0
GB = 1e9
