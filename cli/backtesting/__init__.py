"""The parts of `instance_cli backtest`: one run and its report, sweeps, walk-forward."""
