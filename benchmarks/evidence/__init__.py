"""The evidence: which runs are made (`plan.toml`), what they are to show (`claims.toml`, written before
they are made), what came out (`benchmarks/results/evidence/`), and the page that says so
(`docs/evidence.md`).

    python -m benchmarks.evidence run        make what is missing; goes on after a kill
    python -m benchmarks.evidence page       write the page, and the blocks of README.md and docs/, anew
    python -m benchmarks.evidence status     what there is and what is missing
"""
