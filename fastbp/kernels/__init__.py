"""Everything that computes, as explicit loops; README.md says how it runs, and what each kernel expects and promises.

Kernels trust their arguments: `fastbp.engine.inputs` has checked them.
"""
