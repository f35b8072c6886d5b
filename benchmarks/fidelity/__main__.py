"""Run the fidelity benchmark: ``python -m benchmarks.fidelity --data eight_gaussians``."""

from benchmarks.fidelity.table import main

if __name__ == "__main__":
    main()
