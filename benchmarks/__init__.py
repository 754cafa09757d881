"""How fast fastbp is, beside its peers and beside the machine's limit.

python -m pytest benchmarks --benchmark-only    a quick look, every peer in one process
python -m benchmarks.measure                    the measurements of RESULTS.md; raw numbers to results/
python -m benchmarks.report                     results/ and targets.toml to RESULTS.md and the README's table
python -m benchmarks.bits                       whether trained weights still have the bits recorded
"""
