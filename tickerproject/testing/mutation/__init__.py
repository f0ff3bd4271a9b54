"""Mutation proofs: small errors are put into a module one at a time, and its tests have to notice.

`python -m tickerproject.testing.mutation` runs every proof, with names only those. `mutants` finds the errors to make,
`running` tries one per process, `proofs` says what is proved and which survivors are no errors at all.

The well-known tools change functions only. Half of what can be wrong in a parser stands outside of them: in tables of
fields, formats and divisors. Here every statement of the module counts.
"""
