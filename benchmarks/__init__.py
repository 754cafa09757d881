"""How fast fastbp is, beside its peers and beside the machine's limit.

python -m pytest benchmarks --benchmark-only    a quick look, every peer in one process
python -m benchmarks.measure                    the measurements behind the README's tables; raw numbers to results/
python -m benchmarks.report                     results/ and targets.toml to the README's tables
"""
