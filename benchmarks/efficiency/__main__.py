"""Run the replay of recorded searches: ``python -m benchmarks.efficiency [NUM [TRIALS]]``."""

from benchmarks.efficiency.settings import main

if __name__ == "__main__":
    main()
