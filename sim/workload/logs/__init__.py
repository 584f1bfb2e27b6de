"""REQUEST LOGS: files in, columns of seconds and tokens out (`request_log`), and calls made of them."""
