"""What evaluations are measured in: estimates with intervals, tests, agreement between raters."""
