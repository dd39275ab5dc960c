import os

# Ray reads this when it is imported: without it a late call of a background thread starts a second Ray after ours ended.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
