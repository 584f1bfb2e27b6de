"""`python alone.py LOCK COMMAND...`: run a command once no other process holding the same lock file is running one."""

import fcntl
import os
import sys

lock = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
os.set_inheritable(lock, True)  # the lock is held until the command ends
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("Another make is installing; waiting for it", flush=True)
    fcntl.flock(lock, fcntl.LOCK_EX)
os.execvp(sys.argv[2], sys.argv[2:])
