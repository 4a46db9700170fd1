"""Three rings: unit, wire and bench; `script/test` runs them."""
