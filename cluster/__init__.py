import os

# Ray reads this on import. Without it, a late call from a background thread would start a second Ray after ours has ended.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
