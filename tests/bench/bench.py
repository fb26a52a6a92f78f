"""Benchmarks of the built program, from outside, beside what it is compared with. `cargo xtask bench api|launch|disk`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import api  # noqa: E402
import disk  # noqa: E402
import launch  # noqa: E402

BENCHES = {"api": api.main, "launch": launch.main, "disk": disk.main}


def main():
    words = sys.argv[1:]
    if len(words) < 1 or words[0] not in BENCHES:
        sys.exit(f"usage: bench.py {'|'.join(BENCHES)} [OPTIONS]")
    BENCHES[words[0]](words[1:])


if __name__ == "__main__":
    main()
